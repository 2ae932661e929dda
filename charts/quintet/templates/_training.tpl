{{/* The training Job. Its pod cannot be changed, so its name goes by the pod: what differs is another Job. */}}

{{- define "quintet.trainingName" -}}
{{ .Release.Name }}-training-{{ include "quintet.trainingPod" . | sha256sum | trunc 8 }}
{{- end }}

{{/* The folder goes by the options: another image or more memory goes on where the last Job was. */}}
{{- define "quintet.trainingPod" -}}
{{- with .Values.training -}}
metadata:
  labels:
    {{- include "quintet.selector" (list $ "training") | nindent 4 }}
    app.kubernetes.io/part-of: quintet
spec:
  restartPolicy: OnFailure {{- /* the same pod, whose volume has the checkpoints */}}
  serviceAccountName: {{ $.Release.Name }}-training
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- include "quintet.pullSecrets" $ | nindent 2 }}
  securityContext:
    {{- include "quintet.podSecurity" . | nindent 4 }}
  containers:
    - name: training
      image: {{ include "quintet.image" (list $ .image "") }}
      imagePullPolicy: IfNotPresent
      args:
        - --output=/output/{{ $.Release.Name }}-{{ .options | toJson | sha256sum | trunc 8 }}
        {{- include "quintet.trainingOptions" $ | nindent 8 }}
      env:
        {{- include "quintet.scratchEnv" . | nindent 8 }}
        {{- with $.Values.mlflow.url }}
        - {name: MLFLOW_TRACKING_URI, value: {{ . | quote }}}
        {{- end }}
        {{- include "quintet.env" . | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "quintet.containerSecurity" (dict "Values" (dict "development" false)) | nindent 8 }}
      volumeMounts:
        - {name: scratch, mountPath: /tmp}
        - {name: output, mountPath: /output}
        {{- if .data.claim }}
        - {name: data, mountPath: /data, readOnly: true}
        {{- end }}
  volumes:
    - name: scratch
      emptyDir: {sizeLimit: 2Gi}
    - name: output
      {{- if .output.claim }}
      persistentVolumeClaim: {claimName: {{ .output.claim }}}
      {{- else }}
      emptyDir: {sizeLimit: {{ .output.size }}}
      {{- end }}
    {{- with .data.claim }}
    - name: data
      persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
    {{- end }}
{{- end }}
{{- end }}

{{/* The options as the command takes them */}}
{{- define "quintet.trainingOptions" -}}
{{- range $name, $value := .Values.training.options }}
{{- $option := printf "--%s" ($name | replace "_" "-") }}
{{- if kindIs "bool" $value }}
{{- if $value }}
- {{ $option }}
{{- end }}
{{- else }}
- {{ printf "%s=%s" $option (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
{{- end }}
{{- end }}
{{- end }}
