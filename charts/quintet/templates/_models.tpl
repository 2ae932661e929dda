{{/* What the values come to for each model. */}}

{{/* The enabled models as YAML, by protocol name: modelDefaults, over them the profile's, over them the model's own. */}}
{{- define "quintet.models" -}}
{{- $profile := get .Values.profiles .Values.profile | default dict -}}
{{- $found := dict -}}
{{- range $name, $own := .Values.models -}}
  {{- $model := mergeOverwrite (deepCopy $.Values.modelDefaults) (deepCopy (get $profile $name | default dict)) (deepCopy ($own | default dict)) -}}
  {{- if $model.enabled -}}{{- $_ := set $found $name $model -}}{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end }}

{{/* (root, model): its entry in accelerators */}}
{{- define "quintet.accelerator" -}}
{{- get (first .).Values.accelerators (last .).accelerator | default dict | toYaml -}}
{{- end }}

{{/* (root, name, model): the image of its predictor */}}
{{- define "quintet.modelImage" -}}
{{- include "quintet.image" (list (index . 0) (index . 2).image (printf "quintet/%s" (index . 1 | replace "_" "-"))) -}}
{{- end }}

{{/* (root, Python program of an image): in development it starts again whenever a file of its package changes */}}
{{- define "quintet.watched" -}}
{{- if (first .).Values.development }}
command: [python3, -m, watchfiles, --filter, python, "python3 -m {{ last . }}", /app]
{{- end }}
{{- end }}

{{/* What a predictor's process may take to end once it has SIGTERM: 2 s of it are for ending itself. */}}
{{- define "quintet.gracePeriod" -}}
{{- add .drain.delay .drain.finish 2 -}}
{{- end }}

{{- define "quintet.terminationGracePeriod" -}}
{{- add .drain.learn (include "quintet.gracePeriod" .) 5 -}}
{{- end }}

{{/* Limit of CPU. Where there is none KServe writes 1, and Kubernetes then refuses what requests more. */}}
{{- define "quintet.cpuLimit" -}}
{{- $requested := .requests.cpu | toString -}}
{{- $milli := hasSuffix "m" $requested | ternary (trimSuffix "m" $requested | float64) (mulf (float64 $requested) 1000) -}}
{{- .limits.cpu | default (gt $milli 1000.0 | ternary $requested "1") -}}
{{- end }}

{{/* A quantity such as 256Mi in bytes. */}}
{{- define "quintet.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $quantity := toString . -}}
{{- $unit := regexFind "[A-Za-z]*$" $quantity -}}
{{- mulf (trimSuffix $unit $quantity | float64) (get $units $unit | default 1) | int64 -}}
{{- end }}

{{/* (root, model): whether it has a consumer */}}
{{- define "quintet.consumes" -}}
{{- $model := last . -}}
{{- if and $model.consumer.module $model.egress.kafka (first .).Values.kafka.brokers }}true{{ end -}}
{{- end }}

{{- define "quintet.demo" -}}{{ if eq .Values.profile "demo" }}true{{ end }}{{- end }}
