{{/* The files of a pod that reads gateway.yaml. A Secret is mounted as a folder, so that its renewal arrives. */}}
{{- define "quintet.gatewayMounts" -}}
- {name: config, mountPath: /etc/quintet, readOnly: true}
- {name: scratch, mountPath: /tmp}
{{- range .Values.gateway.issuers }}
{{- if or .keys.secret .keys.jwksSecret }}
- {name: keys-{{ .name }}, mountPath: /etc/quintet-keys/{{ .name }}, readOnly: true}
{{- end }}
{{- end }}
{{- if .Values.gateway.tls.secret }}
- {name: tls, mountPath: /etc/quintet-tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "quintet.gatewayVolumes" -}}
- name: config
  configMap: {name: {{ include "quintet.gatewayName" . }}}
- name: scratch
  emptyDir: {sizeLimit: 64Mi}
{{- range $issuer := .Values.gateway.issuers }}
{{- with $issuer.keys.secret | default $issuer.keys.jwksSecret }}
- name: keys-{{ $issuer.name }}
  secret: {secretName: {{ .name }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- with .Values.gateway.tls.secret }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
