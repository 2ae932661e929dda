{{/* What every pod has: Pod Security `restricted`, and a root file system that cannot be written. */}}

{{- define "quintet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "quintet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ not .Values.development }}
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Where programs may write: one volume, which every cache is pointed at. */}}
{{- define "quintet.scratchEnv" -}}
- {name: HOME, value: /tmp}
- {name: XDG_CACHE_HOME, value: /tmp/.cache}
- {name: HF_HOME, value: /tmp/.cache/huggingface}
- {name: HF_HUB_OFFLINE, value: "1"}
- {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
- {name: TORCHINDUCTOR_CACHE_DIR, value: /tmp/.cache/torchinductor}
- {name: TRITON_CACHE_DIR, value: /tmp/.cache/triton}
- {name: VLLM_CACHE_ROOT, value: /tmp/.cache/vllm}
- {name: VLLM_NO_USAGE_STATS, value: "1"}
{{- end }}

{{/* (path of live, path of ready, startup seconds, port) */}}
{{- define "quintet.probes" -}}
startupProbe:
  httpGet: {path: {{ index . 1 }}, port: {{ index . 3 }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add (index . 2) 4) 5 }}
readinessProbe:
  httpGet: {path: {{ index . 1 }}, port: {{ index . 3 }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: {{ index . 0 }}, port: {{ index . 3 }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* (root, model): where the brokers are */}}
{{- define "quintet.kafka" -}}
{{- if and (last .).egress.kafka (first .).Values.kafka.brokers }}
- {name: QUINTET_KAFKA_BOOTSTRAP_SERVERS, value: {{ (first .).Values.kafka.brokers | quote }}}
{{- end }}
{{- end }}

{{/* A value as people write it: helm's own way with a number of seven digits is 1e+06. */}}
{{- define "quintet.plain" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end -}}
{{- end }}

{{/* (settings, env, secretEnv): environment of a container of a model, in a stable order */}}
{{- define "quintet.env" -}}
{{- range $name, $value := .settings }}
- {name: QUINTET_{{ $name | upper }}, value: {{ include "quintet.plain" $value | quote }}}
{{- end }}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ include "quintet.plain" $value | quote }}}
{{- end }}
{{- range $name, $ref := .secretEnv }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $ref.name }}, key: {{ $ref.key }}}
{{- end }}
{{- end }}
