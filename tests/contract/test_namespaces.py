"""An identity of one namespace is kept from other namespaces, and from its own records."""

import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from tests.contract.conftest import SECRETS, SHARED_BUCKET, SHARED_PREFIX, Server
from tests.contract.trespass import Request

from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.results import PurgeResult
from stockpot.api.runspec import ObjectRef, PurgeRun, StoreRef
from stockpot.cli.strays import strays
from stockpot.errors import Refused, Transient
from stockpot.metrics.progress import Progress
from stockpot.store.keys import Keys
from stockpot.store.namespace_mark import claim_prefix
from stockpot.store.open import open_store
from stockpot.store.s3 import S3Store
from stockpot.unlearning.purge import run as purge

OURS, THEIRS = Keys("studio"), Keys("atelier")
SECRET = b"of another team"
WEIGHTS = THEIRS.ingredient("uid-cats", "key") + "weights"
ROOT = f"/{SHARED_BUCKET}/{SHARED_PREFIX}/"
UPLOAD = ROOT + OURS.ingredient("uid", "key") + "weights"


def at(key: str) -> str:
    return ROOT + key


def listing(query: str) -> Request:
    return Request("GET", f"/{SHARED_BUCKET}", query)


def below(prefix: str) -> str:
    return quote(f"{SHARED_PREFIX}/{prefix}", safe="")


def write(key: str) -> Request:
    return Request("PUT", at(key), body=b"planted")


def remove(key: str, query: str = "") -> Request:
    return Request("DELETE", at(key), query)


def copy(key: str, to: str = UPLOAD, query: str = "") -> Request:
    source = {"x-amz-copy-source": quote(at(key))}
    return Request("PUT", to, query, headers=source)


SEVERAL = (
    "<Delete>"
    f"<Object><Key>{SHARED_PREFIX}/{WEIGHTS}</Key></Object>"
    f"<Object><Key>{SHARED_PREFIX}/{OURS.tombstone('uid-dogs')}</Key></Object>"
    "</Delete>"
).encode()

KEPT = [
    Request("GET", at(OURS.unlearned_list("soup", "uid-dogs"))),
    Request("GET", at(OURS.unlearned_list("soup", "uid-dogs")), "versionId=null"),
    Request("HEAD", at(OURS.unlearned_key("soup"))),
    Request("GET", at(OURS.unlearned_key("soup"))),
    copy(OURS.unlearned_key("soup"), to=at("studio/soups/soup/copied-key")),
]
"""Reading what only the identity that purges may read."""

ATTEMPTS = [
    # What there is: buckets, the whole bucket, the store, another namespace.
    Request("HEAD", f"/{SHARED_BUCKET}"),
    listing(""),
    listing("list-type=2"),
    listing("list-type=2&prefix="),
    listing(f"list-type=2&prefix={below('')}"),
    listing(f"delimiter=%2F&prefix={below('')}"),
    listing(f"list-type=2&prefix={below('atelier')}"),
    listing(f"list-type=2&prefix={below('atelier/')}"),
    listing(f"prefix={below('atelier/shards/')}"),
    listing(f"list-type=2&prefix={below('studio')}"),
    listing(f"list-type=2&prefix={below('studio-2/')}"),
    listing(f"list-type=2&prefix={below('atelier/')}&prefix={below('studio/')}"),
    listing(f"prefix={below('atelier/')}&versions="),
    listing(f"prefix={below('studio/')}&versions="),
    listing(f"prefix={below('atelier/')}&uploads="),
    listing("policy="),
    # Reading of another namespace.
    Request("GET", at(WEIGHTS)),
    Request("HEAD", at(WEIGHTS)),
    Request("GET", at(WEIGHTS), "versionId=null"),
    Request("GET", at(WEIGHTS), "tagging="),
    Request("GET", at(WEIGHTS), "acl="),
    Request("GET", at(THEIRS.receipt("soup", 1))),
    Request("GET", at(THEIRS.tombstone("uid-dogs"))),
    Request("GET", at("atelier/data/cats/1.png")),
    Request("GET", at("atelier/no-such-object")),
    copy(WEIGHTS),
    copy(WEIGHTS, query="partNumber=1&uploadId=UPLOAD"),
    # Writing into another namespace, or where no workload writes.
    write(WEIGHTS),
    write(THEIRS.shard("uid-cats") + "planted"),
    write(THEIRS.soup("soup") + "planted"),
    write(THEIRS.mark),
    write(THEIRS.tombstone("uid-cats")),
    write(THEIRS.inventory("uid-cats")),
    write(THEIRS.receipt("soup", 2)),
    write("bases/tiny/model_index.json"),
    write("planted"),
    Request("PUT", at(WEIGHTS), "tagging=", b"<Tagging><TagSet></TagSet></Tagging>"),
    Request("POST", at(WEIGHTS), "uploads="),
    copy("studio/soups/soup/own", to=at(THEIRS.soup("soup") + "copied")),
    # Removing, there and in the namespace's own records.
    remove(WEIGHTS),
    remove(WEIGHTS, "versionId=null"),
    remove(THEIRS.tombstone("uid-dogs")),
    remove(THEIRS.receipt("soup", 1)),
    Request("DELETE", at(WEIGHTS), "uploadId=UPLOAD"),
    # The records of its own namespace, which only purge and sign write.
    write(OURS.tombstone("uid-cats")),
    write(OURS.tombstone("uid-dogs")),
    write(OURS.inventory("uid-dogs")),
    write(OURS.receipt("soup", 1)),
    write(OURS.receipt("soup", 2)),
    write("studio/planted"),
    write("studio/data/cats/planted.png"),
    remove(OURS.mark),
    remove(OURS.tombstone("uid-dogs")),
    remove(OURS.inventory("uid-dogs")),
    remove(OURS.receipt("soup", 1)),
    remove(OURS.receipt("soup", 1), "versionId=null"),
    Request("POST", at(OURS.receipt("soup", 3)), "uploads="),
    # What is kept of unlearned records, in its own namespace as well.
    *KEPT,
    Request("GET", at(THEIRS.unlearned_list("soup", "uid-dogs"))),
    write(OURS.unlearned_list("soup", "uid-dogs")),
    write(OURS.unlearned_key("soup")),
    remove(OURS.unlearned_key("soup")),
    remove(OURS.unlearned_list("soup", "uid-dogs")),
    # The bucket itself.
    Request("DELETE", f"/{SHARED_BUCKET}"),
    Request("PUT", f"/{SHARED_BUCKET}", "versioning=", b"<VersioningConfiguration/>"),
    Request("PUT", f"/{SHARED_BUCKET}", "policy=", b"{}"),
    Request("PUT", f"/{SHARED_BUCKET}", "lifecycle=", b"<LifecycleConfiguration/>"),
    Request("PUT", "/another-bucket"),
]

DETOURS = [
    listing(f"list-type=2&prefix={below('studio/../atelier/')}"),
    Request("GET", at("studio/../" + WEIGHTS)),
    Request("GET", at("studio/%2e%2e/" + WEIGHTS)),
    Request("PUT", at("studio/shards/../../" + WEIGHTS), body=b"planted"),
    Request("PUT", at("studio/shards/%2e%2e/tombstones/uid-cats"), body=b"planted"),
    copy("studio/../" + WEIGHTS),
]


@pytest.fixture(scope="module")
def shared(s3_server: Server) -> S3Store:
    """The shared bucket as an administrator sees it, with objects of both namespaces."""
    s3_server.make(SHARED_BUCKET, versioned=True)
    store = S3Store(s3_server.endpoint, SHARED_BUCKET, SHARED_PREFIX)
    for left in list(store.list_versions("")):
        store.purge(left)
    for keys in (OURS, THEIRS):
        store.put(keys.ingredient("uid-cats", "key") + "weights", SECRET)
        store.put(keys.tombstone("uid-dogs"), SECRET)
        store.put(keys.inventory("uid-dogs"), SECRET)
        store.put(keys.receipt("soup", 1), SECRET)
        store.put(keys.unlearned_list("soup", "uid-dogs"), SECRET)
        store.put(keys.unlearned_key("soup"), SECRET)
        store.put(f"{keys.namespace}/data/cats/1.png", SECRET)
    store.put("studio/soups/soup/own", b"ours")
    store.put("bases/tiny/model_index.json", b"{}")
    return store


@pytest.fixture
def workload(shared: S3Store, s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """The store as a workload of the namespace `studio` opens it."""
    return opened(s3_server, monkeypatch, "workload-studio", "studio")


def opened(
    server: Server, monkeypatch: pytest.MonkeyPatch, identity: str, namespace: str
) -> S3Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[identity])
    ref = StoreRef(url=f"s3://{SHARED_BUCKET}/{SHARED_PREFIX}", endpoint=server.endpoint)
    store = open_store(ref, namespace)
    assert isinstance(store, S3Store)
    return store


def content(store: S3Store) -> dict[tuple[str, str], bytes | None]:
    return {(info.key, info.version): store.get_version(info) for info in store.list_versions("")}


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_an_identity_of_one_namespace_is_refused(
    shared: S3Store, s3_server: Server, attempt: Request
) -> None:
    before = content(shared)

    answer = attempt.send(s3_server.endpoint, "workload-studio", SECRETS["workload-studio"])

    assert answer.status == 403, answer
    assert SECRET not in answer.body
    assert content(shared) == before


@pytest.mark.parametrize("detour", DETOURS, ids=str)
def test_no_path_leads_around_the_wall(shared: S3Store, s3_server: Server, detour: Request) -> None:
    before = content(shared)

    answer = detour.send(s3_server.endpoint, "workload-studio", SECRETS["workload-studio"])

    assert answer.status >= 400 or b"<KeyCount>0<" in answer.body, answer
    assert SECRET not in answer.body
    assert content(shared) == before


@pytest.mark.parametrize(
    "attempt", [listing("list-type=2"), Request("GET", at(WEIGHTS)), write(WEIGHTS)], ids=str
)
def test_one_identity_for_all_namespaces_is_no_wall(
    shared: S3Store, s3_server: Server, attempt: Request
) -> None:
    answer = attempt.send(s3_server.endpoint, "workload", SECRETS["workload"])

    assert answer.status == 200, "docs/reference/store-access.md says what it may do"
    shared.put(WEIGHTS, SECRET)


@pytest.mark.parametrize("attempt", KEPT, ids=str)
def test_one_identity_for_all_namespaces_reads_nothing_of_unlearned_records(
    shared: S3Store, s3_server: Server, attempt: Request
) -> None:
    answer = attempt.send(s3_server.endpoint, "workload", SECRETS["workload"])

    assert answer.status == 403, answer
    assert SECRET not in answer.body


def test_the_identity_that_purges_reads_and_writes_them(
    shared: S3Store, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(s3_server, monkeypatch, "unlearn", "studio")
    place = OURS.unlearned_list("soup", "uid-dogs")

    assert store.get(place) == SECRET
    store.put(place, SECRET)
    assert store.put_if_absent(OURS.unlearned_key("another"), SECRET)
    assert shared.get(OURS.unlearned_key("another")) == SECRET


def test_a_removal_of_several_removes_none_that_is_protected(
    shared: S3Store, s3_server: Server
) -> None:
    before = content(shared)
    several = Request("POST", f"/{SHARED_BUCKET}", "delete=", SEVERAL)

    answer = several.send(s3_server.endpoint, "workload-studio", SECRETS["workload-studio"])

    assert answer.status == 403 or answer.body.count(b"<Code>AccessDenied") == 2, answer
    assert content(shared) == before


def test_an_identity_of_one_namespace_sees_its_namespace_and_the_bases(workload: S3Store) -> None:
    assert [info.key for info in workload.list("studio/data/")] == ["studio/data/cats/1.png"]
    assert [info.key for info in workload.list("bases/")] == ["bases/tiny/model_index.json"]
    assert workload.get(OURS.receipt("soup", 1)) == SECRET
    assert workload.get(OURS.tombstone("uid-cats")) is None


def test_a_namespace_of_another_identity_cannot_be_opened(
    shared: S3Store, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Transient, match="refuses us 'atelier/': AccessDenied") as refusal:
        opened(s3_server, monkeypatch, "workload-studio", "atelier")

    assert "what they may do" in refusal.value.help


def test_a_policy_that_the_store_does_not_understand_refuses_runs_and_no_unlearning(
    shared: S3Store, s3_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Transient, match="AccessDenied") as refusal:
        opened(s3_server, monkeypatch, "misunderstood", "studio")
    opened(s3_server, monkeypatch, "unlearn", "studio")
    spec = PurgeRun(
        name="purge",
        store=StoreRef(url=f"s3://{SHARED_BUCKET}/{SHARED_PREFIX}", endpoint=s3_server.endpoint),
        soup=ObjectRef(namespace="studio", name="soup", uid="uid-of-soup"),
        shard=ObjectRef(namespace="studio", name="cats", uid="uid-unheard-of"),
    )
    purge(spec, work=tmp_path, progress=Progress(), stop=threading.Event())

    assert "what they may do" in refusal.value.help
    assert shared.get(OURS.tombstone("uid-unheard-of"))
    for left in list(shared.list_versions("studio/")):
        if "uid-unheard-of" in left.key:
            shared.purge(left)


def test_a_refusal_of_what_is_listed_and_missing_is_an_absence(
    shared: S3Store, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS answers 403 instead of 404 to an identity whose listing is limited by a condition."""
    shared.put("listed/there", b"x")
    store = opened(s3_server, monkeypatch, "lister", "listed")

    assert store.head("listed/not-there") is None
    assert store.get("listed/not-there") is None
    for key in ("listed/there", "studio/data/cats/1.png"):
        with pytest.raises(Transient, match="AccessDenied"):
            store.head(key)
        with pytest.raises(Transient, match="AccessDenied"):
            store.get(key)


def test_credentials_from_before_there_were_marks_leave_the_mark_out(
    shared: S3Store, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(s3_server, monkeypatch, "lister", "listed")

    claim_prefix(store, Keys("listed"), NamespaceRef(uid="uid-1"))

    assert shared.get("listed/namespace.json") is None


def test_a_workload_marks_its_namespace_and_no_other(workload: S3Store) -> None:
    claim_prefix(workload, OURS, NamespaceRef(uid="uid-1"))
    with pytest.raises(Refused, match="belongs to the namespace studio"):
        claim_prefix(workload, OURS, NamespaceRef(uid="uid-2"))
    with pytest.raises(Transient, match="AccessDenied"):
        claim_prefix(workload, THEIRS, NamespaceRef(uid="uid-1"))


def test_what_a_workload_plants_is_named_and_removed_with_the_unlearn_identity(
    shared: S3Store, s3_server: Server, monkeypatch: pytest.MonkeyPatch, workload: S3Store
) -> None:
    planted = OURS.soup("soup") + "planted"
    workload.put(planted, b"first")
    workload.put(planted, b"second")
    before = {info.key for info in shared.list_versions("")}
    opened(s3_server, monkeypatch, "unlearn", "studio")
    soup = ObjectRef(namespace="studio", name="soup", uid="soup")
    ref = StoreRef(url=f"s3://{SHARED_BUCKET}/{SHARED_PREFIX}", endpoint=s3_server.endpoint)

    def purged(name: str) -> PurgeResult:
        shard = ObjectRef(namespace="studio", name=name, uid=f"uid-{name}")
        spec = PurgeRun(name="purge", store=ref, soup=soup, shard=shard)
        result = purge(spec, work=Path(), progress=Progress(), stop=threading.Event())
        assert isinstance(result, PurgeResult)
        return result

    def command(*arguments: str) -> str:
        where = ("-n", "studio", "--store", ref.url, "--endpoint", ref.endpoint)
        answer = CliRunner().invoke(strays, [*arguments, *where], catch_exceptions=False)
        return answer.output

    first = purged("a")
    listed = command()
    removed = command("--remove")
    second = purged("b")

    assert planted in first.residuals
    assert len(set(first.residuals)) == len(first.residuals)
    assert listed.count(f"{planted} version ") == 2, "both versions"
    assert removed.count("removed ") == listed.count(" bytes)") == first.residual_count
    assert second.residual_count == 0
    assert {info.key for info in shared.list_versions("")} <= before | {
        OURS.tombstone("uid-a"), OURS.tombstone("uid-b"),
        OURS.inventory("uid-a"), OURS.inventory("uid-b"),
    }  # fmt: skip
