{{/* The pod that runs a scenario: the same by night and at once. */}}
{{- define "stackbench.podTemplate" -}}
metadata:
  labels:
    {{- include "stackbench.labels" . | nindent 4 }}
    # A sidecar would outlive the run, and the Job with it.
    sidecar.istio.io/inject: "false"
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "stackbench.serviceAccountName" . }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  restartPolicy: Never
  # What it made is taken away first: namespaces go when all in them has gone.
  terminationGracePeriodSeconds: 150
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: stackbench
      image: {{ include "stackbench.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - run
        - {{ include "stackbench.scenarioFile" . }}
        - --target=kubernetes
        - --agent-image={{ include "stackbench.agentImage" . }}
        - --out=/results/$(POD_NAME).json
        {{- with .Values.namespace }}
        - --namespace={{ . }}
        {{- end }}
        {{- if .Values.scenario.strict }}
        - --strict
        {{- end }}
        {{- range .Values.scenario.set }}
        - --set
        - {{ . | quote }}
        {{- end }}
        {{- if .Values.metrics.enabled }}
        - {{ printf "--serve-metrics=%s:%v" .Values.metrics.address .Values.metrics.port | quote }}
        {{- end }}
        {{- with .Values.pushGateway.url }}
        - --push-gateway={{ . }}
        {{- end }}
      env:
        # Each run's report has its pod's name.
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - {name: HOME, value: /tmp}
        # What it learns of how long runs take here stays with the reports.
        - {name: XDG_STATE_HOME, value: /results/.state}
      {{- if .Values.metrics.enabled }}
      ports:
        - {name: metrics, containerPort: {{ .Values.metrics.port }}}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: results, mountPath: /results}
        {{- if .Values.ownScenarios }}
        - {name: scenarios, mountPath: /etc/stackbench/scenarios, readOnly: true}
        {{- end }}
  volumes:
    - {name: tmp, emptyDir: {}}
    - name: results
      {{- if .Values.results.persistentVolumeClaim.enabled }}
      persistentVolumeClaim: {claimName: {{ include "stackbench.resultsClaim" . }}}
      {{- else }}
      emptyDir: {}
      {{- end }}
    {{- if .Values.ownScenarios }}
    - name: scenarios
      configMap: {name: {{ include "stackbench.fullname" . }}-scenarios}
    {{- end }}
{{- end -}}

{{/* A Job's spec: tried once, since a second try would hide what the first found. */}}
{{- define "stackbench.jobSpec" -}}
backoffLimit: 0
activeDeadlineSeconds: {{ .Values.activeDeadlineSeconds }}
template:
  {{- include "stackbench.podTemplate" . | nindent 2 }}
{{- end -}}
