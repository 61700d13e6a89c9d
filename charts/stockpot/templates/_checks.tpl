{{- /* Checks that the schema cannot express. Each message says what is wrong, and what to write. */ -}}

{{- define "stockpot.checks" -}}
{{- if not .Values.workloadNamespaces }}
{{- fail "workloadNamespaces is empty: name at least one namespace for Soups and DataShards\n  help: --set workloadNamespaces={studio}" }}
{{- end }}
{{- if has .Release.Namespace .Values.workloadNamespaces }}
{{- fail (printf "workloadNamespaces names %s, the release's own: there lie the signing key and the right to delete\n  help: keep Soups and DataShards in another namespace" .Release.Namespace) }}
{{- end }}
{{- range $verb := keys .Values.pods.resources }}
{{- if not (has $verb (list "train" "merge" "evaluate" "serve" "purge" "sign" "find" "compare")) }}
{{- fail (printf "pods.resources names %s, which is no verb\n  help: train, merge, evaluate, serve, purge, sign, find or compare" $verb) }}
{{- end }}
{{- end }}
{{- if not .Values.stores }}
{{- fail "stores is empty: declare where artefacts lie\n  help: --set stores.default.url=s3://BUCKET --set stores.default.endpoint=https://HOST, and its credentials" }}
{{- end }}
{{- range $name, $store := .Values.stores }}
{{- range $who := list "workload" "unlearn" }}
{{- $path := printf "stores.%s.credentials.%s" $name $who }}
{{- $identity := dig "credentials" $who dict $store }}
{{- $keys := and $identity.accessKey $identity.secretKey }}
{{- $any := or $identity.accessKey $identity.secretKey }}
{{- if and $identity.existingSecret $any }}
{{- fail (printf "%s has an existingSecret and keys\n  help: give one of them" $path) }}
{{- end }}
{{- if not (or $identity.existingSecret $keys) }}
{{- fail (printf "%s says too little\n  help: give existingSecret, or accessKey and secretKey" $path) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
