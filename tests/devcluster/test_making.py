"""What the built-in cluster is made of, as far as that can be looked at without root."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from devcluster import build, images, objects, settings
from devcluster.places import REPOSITORY, places
from devcluster.problem import Problem


@pytest.mark.parametrize("name", ["", "A", "two words", "-a", "../up", "a" * 21])
def test_a_name_that_could_not_be_a_files_and_a_networks_is_refused(name: str) -> None:
    with pytest.raises(Problem, match="is no name for a cluster"):
        places(name)


def test_a_state_that_the_cluster_could_not_see_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib/somewhere")

    with pytest.raises(Problem, match="it has its own /var/lib"):
        places("any")


def test_programs_are_named_by_what_they_are_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    module = tmp_path / "cluster"
    shutil.copytree(build.CLUSTER, module)
    part = build.Part("part", (module,))
    before = part.bin

    (module / "keys.go").write_text("package main\n")

    assert part.bin != before


def test_the_version_that_the_server_tells_is_the_one_that_is_compiled() -> None:
    assert build.version_of("k8s.io/kubernetes", build.CLUSTER).startswith("v1.")
    with pytest.raises(Problem, match="does not name nobody"):
        build.version_of("nobody", build.CLUSTER)


def test_an_image_is_an_archive_whose_digests_are_true(tmp_path: Path) -> None:
    root, archive = tmp_path / "root", tmp_path / "image.tar"
    root.mkdir()
    (root / "pause").write_bytes(b"a program")

    images.write(archive, root, "localhost/a:1", {"User": "1:1"})

    with tarfile.open(archive) as tar:
        blobs = {name: read(tar, name) for name in tar.getnames() if name.startswith("blobs/")}
        index = json.loads(read(tar, "index.json"))
    assert all(hashlib.sha256(blob).hexdigest() == Path(name).name for name, blob in blobs.items())
    manifest = json.loads(blobs[blob_name(index["manifests"][0]["digest"])])
    config = json.loads(blobs[blob_name(manifest["config"]["digest"])])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert not archive.with_suffix(".part").exists()
    assert not archive.with_suffix(".layer").exists()


def test_the_stores_identities_may_do_what_the_page_says_and_no_more() -> None:
    config = json.loads(objects.identities())
    named = {identity["name"]: identity["policyNames"] for identity in config["identities"]}
    allowed = {policy["name"]: json.loads(policy["content"]) for policy in config["policies"]}

    assert named == {
        "stockpot-studio": ["workload-studio"],
        "stockpot-proof": ["workload-proof"],
        objects.UNLEARN[0]: ["unlearn"],
    }
    assert not any("actions" in identity for identity in config["identities"])
    for namespace in ("studio", "proof"):
        statements = allowed[f"workload-{namespace}"]["Statement"]
        listing, *others = statements
        assert listing["Condition"] == {"StringLike": {"s3:prefix": [f"{namespace}/*", "bases/*"]}}
        within = f"arn:aws:s3:::stockpot/{namespace}/"
        for statement in others:
            resources = set(statement["Resource"]) - {"arn:aws:s3:::stockpot/bases/*"}
            assert all(resource.startswith(within) for resource in resources)
        assert {tuple(statement["Action"]): statement["Resource"] for statement in others[1:]} == {
            ("s3:PutObject", "s3:AbortMultipartUpload"): [
                f"{within}namespace.json",
                f"{within}shards/*",
                f"{within}soups/*",
            ],
            ("s3:DeleteObject",): [f"{within}shards/*/runs/*", f"{within}soups/*/accumulators/*"],
            ("s3:GetObject", "s3:GetObjectVersion"): [f"{within}unlearned/*"],
        }
        assert [each["Effect"] for each in statements] == ["Allow"] * 4 + ["Deny"]
    for word in ("BUCKET", "PREFIX", "NAMESPACE"):
        assert word not in objects.identities()


@pytest.mark.parametrize("values", ["builtin", "images"])
def test_the_charts_values_for_the_cluster_name_the_stores_identities(values: str) -> None:
    text = (REPOSITORY / f"examples/emoji/cluster/{values}.yaml").read_text()
    credentials = yaml.safe_load(text)["stores"]["default"]["credentials"]

    keys = {
        who: (identity["accessKey"], identity["secretKey"])
        for who, identity in {**credentials["namespaces"], "": credentials["unlearn"]}.items()
    }
    assert keys == {"studio": objects.WORKLOADS["studio"], "": objects.UNLEARN}


def test_containers_get_the_pause_image_that_we_made() -> None:
    config = settings.containerd(Path("/programs"), Path("/network"))

    assert f'sandbox = "{images.PAUSE}"' in config
    assert 'BinaryName = "/programs/runc"' in config


def read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
