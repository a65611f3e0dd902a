{{/* Names of objects begin with the release's, which says "stackbench" somewhere. */}}
{{- define "stackbench.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of what belongs to no namespace: two releases may share a name in different ones. */}}
{{- define "stackbench.clusterName" -}}
{{- printf "%s-%s" (include "stackbench.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "stackbench.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "stackbench.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name: name the account to use, or leave serviceAccount.create on" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "stackbench.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "stackbench.labels" -}}
{{ include "stackbench.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "stackbench.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "stackbench.agentImage" -}}
{{- printf "%s:%s" .Values.agentImage.repository (.Values.agentImage.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* Where the scenario's file is in the controller's container. */}}
{{- define "stackbench.scenarioFile" -}}
{{- $folder := ternary "/etc/stackbench/scenarios" "/scenarios" (hasKey .Values.ownScenarios .Values.scenario.name) -}}
{{- printf "%s/%s.yaml" $folder .Values.scenario.name -}}
{{- end -}}

{{- define "stackbench.resultsClaim" -}}
{{- .Values.results.persistentVolumeClaim.existingClaim | default (printf "%s-results" (include "stackbench.fullname" .)) -}}
{{- end -}}
