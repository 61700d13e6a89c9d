{{- /* Checks that the schema cannot express. Each message says what is wrong, and what to write. */ -}}

{{- define "stockpot.checks" -}}
{{- if not .Values.workloadNamespaces }}
{{- fail "workloadNamespaces is empty: name at least one namespace for Soups and DataShards\n  help: --set workloadNamespaces={studio}" }}
{{- end }}
{{- if has .Release.Namespace .Values.workloadNamespaces }}
{{- fail (printf "workloadNamespaces names %s, the release's own: there lie the signing key and the right to delete\n  help: keep Soups and DataShards in another namespace" .Release.Namespace) }}
{{- end }}
{{- range $namespace := keys .Values.serviceAccounts.namespaces }}
{{- if not (has $namespace $.Values.workloadNamespaces) }}
{{- fail (printf "serviceAccounts.namespaces names %s, which is no workload namespace\n  help: add it to workloadNamespaces, or correct its name" $namespace) }}
{{- end }}
{{- end }}
{{- range $verb := keys .Values.pods.resources }}
{{- if not (has $verb (list "train" "merge" "evaluate" "serve" "purge" "sign" "find" "compare")) }}
{{- fail (printf "pods.resources names %s, which is no verb\n  help: train, merge, evaluate, serve, purge, sign, find or compare" $verb) }}
{{- end }}
{{- end }}
{{- range $namespace := keys .Values.allowedSources }}
{{- if not (has $namespace $.Values.workloadNamespaces) }}
{{- fail (printf "allowedSources names %s, which is no workload namespace\n  help: add it to workloadNamespaces, or correct its name" $namespace) }}
{{- end }}
{{- end }}
{{- if .Values.allowedSources }}
{{- range $namespace := .Values.workloadNamespaces }}
{{- if not (hasKey $.Values.allowedSources $namespace) }}
{{- fail (printf "allowedSources says nothing of %s\n  help: say what it may name; all is {data: ['*'], bases: ['*'], evaluation: ['*'], claims: ['*']}" $namespace) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not .Values.stores }}
{{- fail "stores is empty: declare where artefacts lie\n  help: --set stores.default.url=s3://BUCKET --set stores.default.endpoint=https://HOST, and its credentials" }}
{{- end }}
{{- range $name, $store := .Values.stores }}
{{- $credentials := $store.credentials | default dict }}
{{- $identities := dict }}
{{- if not (and $.Values.serviceAccounts.unlearn.annotations (not ($credentials.unlearn | default dict | values | compact))) }}
{{- $_ := set $identities "unlearn" ($credentials.unlearn | default dict) }}
{{- end }}
{{- $alone := list }}
{{- range $namespace := $.Values.workloadNamespaces }}
{{- if not (or (hasKey ($credentials.namespaces | default dict) $namespace) (include "stockpot.workloadAnnotations" (list $ $namespace) | fromYaml)) }}
{{- $alone = append $alone $namespace }}
{{- end }}
{{- end }}
{{- if or $alone ($credentials.workload | default dict | values | compact) }}
{{- $_ := set $identities "workload" ($credentials.workload | default dict) }}
{{- end }}
{{- range $namespace, $identity := $credentials.namespaces }}
{{- if not (has $namespace $.Values.workloadNamespaces) }}
{{- fail (printf "stores.%s.credentials.namespaces names %s, which is no workload namespace\n  help: add it to workloadNamespaces, or correct its name" $name $namespace) }}
{{- end }}
{{- $_ := set $identities (printf "namespaces.%s" $namespace) $identity }}
{{- end }}
{{- range $who := keys $identities | sortAlpha | reverse }}
{{- $identity := get $identities $who }}
{{- $path := printf "stores.%s.credentials.%s" $name $who }}
{{- $keys := and $identity.accessKey $identity.secretKey }}
{{- $any := or $identity.accessKey $identity.secretKey }}
{{- if and $identity.existingSecret $any }}
{{- fail (printf "%s has an existingSecret and keys\n  help: give one of them" $path) }}
{{- end }}
{{- if not (or $identity.existingSecret $keys) }}
{{- fail (printf "%s says too little%s\n  help: give existingSecret, or accessKey and secretKey; or annotate serviceAccounts with a cloud identity" $path (eq $who "workload" | ternary (printf ", and namespaces names none for %s" (join ", " $alone)) "")) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
