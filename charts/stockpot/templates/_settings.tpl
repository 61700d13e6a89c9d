{{- /* The operator's settings file, as src/stockpot/cluster/apiserver/settings.py reads it. */ -}}

{{- define "stockpot.settings" -}}
{{- $root := . -}}
{{- $name := include "stockpot.name" . -}}
release:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  binding: {{ $name }}-operator
workloadNamespaces: {{- toYaml .Values.workloadNamespaces | nindent 2 }}
images:
  workload: {{ include "stockpot.image" (list . .Values.images.workload) }}
  unlearn: {{ include "stockpot.image" (list . .Values.images.slim) }}
  pullPolicy: {{ .Values.images.pullPolicy }}
  pullSecrets: {{- toYaml .Values.images.pullSecrets | nindent 4 }}
stores:
  {{- range $store, $values := .Values.stores }}
  {{ $store }}:
    url: {{ $values.url }}
    endpoint: {{ $values.endpoint }}
    credentials:
      {{- range $who := list "workload" "unlearn" }}
      {{ $who }}: {{ include "stockpot.storeSecret" (list $root $store $who (dig "credentials" $who dict $values)) | quote }}
      {{- end }}
      {{- with dig "credentials" "namespaces" dict $values }}
      namespaces:
        {{- range $namespace, $identity := . }}
        {{ $namespace }}: {{ include "stockpot.storeSecret" (list $root $store "workload" $identity) | quote }}
        {{- end }}
      {{- end }}
  {{- end }}
serviceAccounts:
  workload: {{ $name }}-workload
  unlearn: {{ $name }}-unlearn
signingKey:
  secret: {{ include "stockpot.signingSecret" . }}
  key: {{ .Values.signingKey.key }}
grantKey: /etc/stockpot-grants/{{ include "stockpot.grantEntry" . }}
pods: {{- toYaml .Values.pods | nindent 2 }}
{{- end -}}
