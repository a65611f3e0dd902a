{{/* What a scenario does in the namespace it runs in. The README says which step needs which. */}}
{{- define "stackbench.scenarioRules" -}}
- apiGroups: [""]
  resources: [pods, services]
  # Applied by the server: a patch that creates.
  verbs: [create, patch, list, watch]
- apiGroups: [""]
  resources: [pods]
  # By force those of a node that is gone.
  verbs: [deletecollection]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods/exec]
  {{- /* From 1.35 on, opening a WebSocket takes create, too. */}}
  {{- if semverCompare ">=1.35.0-0" .Capabilities.KubeVersion.Version }}
  verbs: [get, create]
  {{- else }}
  verbs: [get]
  {{- end }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- if .Values.rbac.fillers }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [create, patch]
{{- end }}
{{- if .Values.rbac.replace }}
- apiGroups: [""]
  resources: [pods]
  verbs: [delete]
{{- end }}
{{- if .Values.rbac.generators }}
- apiGroups: [batch]
  resources: [jobs]
  {{- if .Values.namespace }}
  verbs: [create, patch, list, deletecollection]
  {{- else }}
  verbs: [create, patch]
  {{- end }}
{{- end }}
{{- if .Values.rbac.policies }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  {{- if .Values.namespace }}
  verbs: [create, patch, delete, list, deletecollection]
  {{- else }}
  verbs: [create, patch, delete, list]
  {{- end }}
{{- end }}
{{- if .Values.namespace }}
{{- /* A namespace of its own takes all in it with it. */}}
- apiGroups: [""]
  resources: [services]
  verbs: [deletecollection]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [deletecollection]
{{- end }}
{{- end -}}

{{/* What there is once in a cluster. */}}
{{- define "stackbench.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
{{- if not .Values.namespace }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [create, patch, delete, list, watch]
# A new namespace is ready when its account is there.
- apiGroups: [""]
  resources: [serviceaccounts]
  resourceNames: [default]
  verbs: [list, watch]
{{- end }}
{{- if and .Values.rbac.mesh (not .Values.namespace) }}
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [create, patch]
- apiGroups: [security.istio.io]
  resources: [peerauthentications, authorizationpolicies, requestauthentications]
  verbs: [create, patch]
- apiGroups: [networking.istio.io]
  resources: [destinationrules, envoyfilters]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [pods/proxy]
  verbs: [get]
# Which Istio, of which trust domain, and the roots that it gives namespaces.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list]
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  verbs: [list]
- apiGroups: [""]
  resources: [services/proxy]
  resourceNames: ["http:istiod:15014"]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [istio, istio-ca-root-cert]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.facts }}
- apiGroups: [apps]
  resources: [daemonsets]
  verbs: [list]
- apiGroups: [crd.projectcalico.org]
  resources: [clusterinformations]
  resourceNames: [default]
  verbs: [get]
{{- end }}
{{- if .Values.rbac.nodesProxy }}
- apiGroups: [""]
  resources: [nodes/proxy]
  verbs: [get]
{{- end }}
{{- end -}}

{{- define "stackbench.subjects" -}}
- kind: ServiceAccount
  name: {{ include "stackbench.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
