{{- define "windlass.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "windlass.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "windlass.name" .) .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "windlass.name" .) | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* What a Deployment may never change. Takes a list: context, component. */ -}}
{{- define "windlass.selector" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ include "windlass.name" $context }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "windlass.labels" -}}
{{- $context := index . 0 -}}
{{ include "windlass.selector" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Takes a list: values of an image, tag to use if it has none. */ -}}
{{- define "windlass.imageName" -}}
{{- $image := index . 0 -}}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{- define "windlass.image" -}}
{{- include "windlass.imageName" (list .Values.image .Chart.AppVersion) }}
{{- end }}

{{- define "windlass.serviceAccount" -}}
{{- default (include "windlass.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "windlass.busUrl" -}}
{{- if .Values.bus.url }}
{{- .Values.bus.url }}
{{- else if .Values.nats.enabled }}
{{- printf "%s://%s-bus.%s.svc:4222" (ternary "tls" "nats" .Values.tls.enabled) (include "windlass.fullname" .) .Release.Namespace }}
{{- end }}
{{- end }}

{{- /* "true" if the bus is the bundled one and speaks TLS: then the operator makes its certificates and users. */ -}}
{{- define "windlass.ownBus" -}}
{{- if and .Values.tls.enabled .Values.nats.enabled (not .Values.bus.url) }}true{{ end }}
{{- end }}

{{- /* What Pod Security "restricted" asks of a pod, and of a container. */ -}}
{{- define "windlass.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "windlass.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "windlass.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
