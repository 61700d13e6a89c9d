{{- /* Common fields of the chart's pods, which satisfy the Pod Security level restricted. */ -}}

{{- define "stockpot.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
enableServiceLinks: false
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.operator.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "stockpot.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "stockpot.env" -}}
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  - name: HOME
    value: /tmp
  # The image's user has a number and no name, and kopf asks for one.
  - name: USER
    value: stockpot
  {{- with .Values.operator.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "stockpot.mounts" -}}
volumeMounts:
  - name: settings
    mountPath: /etc/stockpot
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- with .Values.operator.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "stockpot.volumes" -}}
volumes:
  - name: settings
    configMap:
      name: {{ include "stockpot.name" . }}-settings
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- with .Values.operator.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
