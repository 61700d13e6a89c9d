{{- /* Generated from src/stockpot/cluster/chart/permissions.py. To change it: edit there, `make generate`. */ -}}

{{- define "stockpot.rules.workload" -}}
- apiGroups:
  - stockpot.dev
  resources:
  - datashards
  verbs:
  - get
  - list
  - watch
  - patch
- apiGroups:
  - stockpot.dev
  resources:
  - datashards/status
  verbs:
  - update
- apiGroups:
  - stockpot.dev
  resources:
  - soups
  verbs:
  - get
  - list
  - watch
  - patch
- apiGroups:
  - stockpot.dev
  resources:
  - soups/status
  verbs:
  - update
- apiGroups:
  - stockpot.dev
  resources:
  - souprevisions
  verbs:
  - get
  - list
  - watch
  - create
  - delete
- apiGroups:
  - stockpot.dev
  resources:
  - souprevisions/status
  verbs:
  - update
- apiGroups:
  - stockpot.dev
  resources:
  - unlearningreceipts
  verbs:
  - get
  - list
  - watch
  - create
- apiGroups:
  - stockpot.dev
  resources:
  - unlearningreceipts/status
  verbs:
  - update
- apiGroups:
  - batch
  resources:
  - jobs
  verbs:
  - get
  - list
  - watch
  - create
  - delete
- apiGroups:
  - apps
  resources:
  - deployments
  verbs:
  - get
  - list
  - watch
  - create
  - patch
- apiGroups:
  - ''
  resources:
  - services
  verbs:
  - get
  - list
  - watch
  - create
  - patch
- apiGroups:
  - policy
  resources:
  - poddisruptionbudgets
  verbs:
  - get
  - list
  - watch
  - create
  - patch
- apiGroups:
  - ''
  resources:
  - pods
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - ''
  resources:
  - events
  verbs:
  - get
  - list
  - create
  - patch
- apiGroups:
  - coordination.k8s.io
  resources:
  - leases
  verbs:
  - get
  - create
  - update
- apiGroups:
  - rbac.authorization.k8s.io
  resources:
  - rolebindings
  resourceNames:
  - '{{ include "stockpot.name" $ }}-operator'
  verbs:
  - get
  - patch
- apiGroups:
  - ''
  resources:
  - namespaces
  verbs:
  - get
{{- end -}}

{{- define "stockpot.rules.release" -}}
- apiGroups:
  - batch
  resources:
  - jobs
  verbs:
  - get
  - list
  - watch
  - create
  - delete
- apiGroups:
  - ''
  resources:
  - pods
  verbs:
  - get
  - list
  - watch
- apiGroups:
  - stockpot.dev
  resources:
  - unlearningdebts
  verbs:
  - get
  - list
  - watch
  - create
  - patch
- apiGroups:
  - stockpot.dev
  resources:
  - unlearningdebts/status
  verbs:
  - update
- apiGroups:
  - ''
  resources:
  - events
  verbs:
  - get
  - list
  - create
  - patch
- apiGroups:
  - coordination.k8s.io
  resources:
  - leases
  verbs:
  - get
  - create
  - update
{{- end -}}

{{- define "stockpot.rules.cluster" -}}
- apiGroups:
  - apiextensions.k8s.io
  resources:
  - customresourcedefinitions
  resourceNames:
  - datashards.stockpot.dev
  - soups.stockpot.dev
  - souprevisions.stockpot.dev
  - unlearningreceipts.stockpot.dev
  - unlearningdebts.stockpot.dev
  verbs:
  - get
- apiGroups:
  - ''
  resources:
  - nodes
  verbs:
  - get
- apiGroups:
  - ''
  resources:
  - namespaces
  verbs:
  - get
{{- end -}}
