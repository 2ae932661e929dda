{{/* Names and labels. A release called like the chart gives its models their own names; any other puts its own in
     front, so that two releases live in one namespace. */}}

{{- define "quintet.prefix" -}}
{{- if ne .Release.Name .Chart.Name }}{{ .Release.Name }}-{{ end -}}
{{- end }}

{{/* (root, protocol name) */}}
{{- define "quintet.modelName" -}}
{{- include "quintet.prefix" (first .) }}{{ last . | replace "_" "-" -}}
{{- end }}

{{- define "quintet.gatewayName" -}}
{{ .Release.Name }}-gateway
{{- end }}

{{/* (root, component): what never changes, so that it may stand in selectors and pod templates */}}
{{- define "quintet.selector" -}}
app.kubernetes.io/name: quintet
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* (root, component) */}}
{{- define "quintet.labels" -}}
{{ include "quintet.selector" . }}
app.kubernetes.io/part-of: quintet
app.kubernetes.io/managed-by: {{ (first .).Release.Service }}
app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" (first .).Chart.Name (first .).Chart.Version }}
{{- end }}

{{/* (root, image, default repository) */}}
{{- define "quintet.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
{{- with $root.Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository | default (index . 2) -}}
:{{ $image.tag | default $root.Values.global.imageTag | default $root.Chart.AppVersion -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{- define "quintet.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The port of an http(s) address */}}
{{- define "quintet.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (eq $url.scheme "http" | ternary "80" "443") -}}
{{- end }}

{{/* (weights): the port that a container of the pod fetches them from; nothing where the kubelet brings them */}}
{{- define "quintet.weightsPort" -}}
{{- if .port -}}
{{ .port }}
{{- else if regexMatch "^https?://" .uri -}}
{{ include "quintet.urlPort" .uri }}
{{- else if and .uri (not (regexMatch "^(pvc|oci)://" .uri)) -}}
443
{{- end }}
{{- end }}
