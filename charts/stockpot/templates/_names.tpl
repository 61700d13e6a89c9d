{{- /* Names and labels. The selector of pods never changes within a release. */ -}}

{{- define "stockpot.name" -}}
{{- $name := ternary .Release.Name (printf "%s-stockpot" .Release.Name) (contains "stockpot" .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "stockpot.selector" -}}
app.kubernetes.io/name: stockpot
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "stockpot.labels" -}}
app.kubernetes.io/name: stockpot
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* An image reference: (list $ image). */ -}}
{{- define "stockpot.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := $root.Values.images.registry -}}
{{- if $registry }}{{ trimSuffix "/" $registry }}/{{ end -}}
{{- $image.repository }}:{{ default $root.Chart.AppVersion $image.tag -}}
{{- if $image.digest }}@{{ $image.digest }}{{ end -}}
{{- end -}}

{{- define "stockpot.signingSecret" -}}
{{- default (printf "%s-signing-key" (include "stockpot.name" .)) .Values.signingKey.existingSecret -}}
{{- end -}}

{{- /* In parentheses: an upgrade that reuses values of an earlier chart has none of these. */ -}}
{{- define "stockpot.grantSecret" -}}
{{- default (printf "%s-grant-key" (include "stockpot.name" .)) (.Values.grantKey).existingSecret -}}
{{- end -}}

{{- define "stockpot.grantEntry" -}}
{{- default "grant-key.pem" (.Values.grantKey).key -}}
{{- end -}}

{{- /* The identity of a store's workloads in a namespace, as YAML: (list store namespace). */ -}}
{{- define "stockpot.workloadIdentity" -}}
{{- $credentials := (index . 0).credentials | default dict -}}
{{- $own := dig (index . 1) dict ($credentials.namespaces | default dict) -}}
{{- $own | default ($credentials.workload | default dict) | toYaml -}}
{{- end -}}

{{- /* Annotations of the workloads' ServiceAccount in a namespace, as YAML: (list $ namespace). */ -}}
{{- define "stockpot.workloadAnnotations" -}}
{{- $accounts := (index . 0).Values.serviceAccounts -}}
{{- dig (index . 1) "annotations" dict $accounts.namespaces | default $accounts.workload.annotations | toYaml -}}
{{- end -}}

{{- /* The Secret of a store's identity, empty if it comes with the ServiceAccount: (list $ store-name identity-name identity). */ -}}
{{- define "stockpot.storeSecret" -}}
{{- $made := printf "%s-store-%s-%s" (include "stockpot.name" (index . 0)) (index . 1) (index . 2) -}}
{{- if (index . 3).accessKey }}{{ $made }}{{ else }}{{ (index . 3).existingSecret }}{{ end -}}
{{- end -}}
