{{- /* Generated from operator/controllers/access.ts by `npm run gen`; do not edit. */ -}}
{{- define "windlass.access.watched" -}}
# the jobs to run; they go when their time to live is over
- apiGroups:
    - windlass.dev
  resources:
    - trainingjobs
  verbs:
    - list
    - watch
    - delete
# state, progress and failures of jobs
- apiGroups:
    - windlass.dev
  resources:
    - trainingjobs/status
  verbs:
    - patch
# the services to serve
- apiGroups:
    - windlass.dev
  resources:
    - inferenceservices
  verbs:
    - list
    - watch
# replicas and address of services
- apiGroups:
    - windlass.dev
  resources:
    - inferenceservices/status
  verbs:
    - patch
# a job makes the model that it publishes to
- apiGroups:
    - windlass.dev
  resources:
    - models
  verbs:
    - list
    - watch
    - create
# the newest version of models
- apiGroups:
    - windlass.dev
  resources:
    - models/status
  verbs:
    - patch
# what a job has published
- apiGroups:
    - windlass.dev
  resources:
    - modelversions
  verbs:
    - list
    - watch
    - create
# versions are ready
- apiGroups:
    - windlass.dev
  resources:
    - modelversions/status
  verbs:
    - patch
# settings of pods, of a namespace
- apiGroups:
    - windlass.dev
  resources:
    - trainingruntimes
  verbs:
    - list
    - watch
# ranks of jobs and replicas of services
- apiGroups:
    - ""
  resources:
    - pods
  verbs:
    - list
    - watch
    - create
    - delete
# the scheduler places the ranks of a job as a whole, where it can
- apiGroups:
    - scheduling.k8s.io
  resources:
    - podgroups
  verbs:
    - list
    - watch
    - create
    - delete
# names of ranks, and what stands in front of replicas
- apiGroups:
    - ""
  resources:
    - services
  verbs:
    - list
    - watch
    - create
    - update
# a drain of nodes waits until replicas of services run elsewhere
- apiGroups:
    - policy
  resources:
    - poddisruptionbudgets
  verbs:
    - list
    - watch
    - create
    - update
# whom the pods of a job or service may speak to
- apiGroups:
    - networking.k8s.io
  resources:
    - networkpolicies
  verbs:
    - list
    - watch
    - create
    - update
# tells people what was done; a patch raises the count
- apiGroups:
    - events.k8s.io
  resources:
    - events
  verbs:
    - create
    - patch
{{- end }}
{{- define "windlass.access.cluster" -}}
# settings of pods, of the cluster
- apiGroups:
    - windlass.dev
  resources:
    - clustertrainingruntimes
  verbs:
    - list
    - watch
# replicas of services leave nodes that are cordoned
- apiGroups:
    - ""
  resources:
    - nodes
  verbs:
    - list
    - watch
# which pod asks for credentials
- apiGroups:
    - authentication.k8s.io
  resources:
    - tokenreviews
  verbs:
    - create
{{- end }}
{{- define "windlass.access.own" -}}
# the first operator makes the lease; a name cannot be asked for here
- apiGroups:
    - coordination.k8s.io
  resources:
    - leases
  verbs:
    - create
# one of several operators leads
- apiGroups:
    - coordination.k8s.io
  resources:
    - leases
  resourceNames:
    - windlass-operator
  verbs:
    - get
    - update
# the first operator makes them; a name cannot be asked for here
- apiGroups:
    - ""
  resources:
    - secrets
  verbs:
    - create
# the authority that certificates of pods come from, and the certificate of the bus
- apiGroups:
    - ""
  resources:
    - secrets
  resourceNames:
    - windlass-ca
    - windlass-bus
  verbs:
    - get
    - update
{{- end }}
{{- define "windlass.access.view" -}}
- apiGroups:
    - windlass.dev
  resources:
    - trainingjobs
    - inferenceservices
    - models
    - modelversions
    - trainingruntimes
    - clustertrainingruntimes
    - inferenceservices/scale
  verbs:
    - get
    - list
    - watch
# `windlass status`, `logs` and `report`
- apiGroups:
    - ""
  resources:
    - pods
    - pods/log
    - services
  verbs:
    - get
    - list
    - watch
# `windlass status` and `report`
- apiGroups:
    - events.k8s.io
  resources:
    - events
  verbs:
    - get
    - list
    - watch
# `windlass report`: how the operator is set up
- apiGroups:
    - apps
  resources:
    - deployments
  verbs:
    - get
    - list
{{- end }}
{{- define "windlass.access.edit" -}}
- apiGroups:
    - windlass.dev
  resources:
    - trainingjobs
    - inferenceservices
    - models
    - modelversions
    - trainingruntimes
    - inferenceservices/scale
  verbs:
    - create
    - update
    - patch
    - delete
    - deletecollection
# `windlass chat`
- apiGroups:
    - ""
  resources:
    - services/proxy
  verbs:
    - get
    - create
{{- end }}
