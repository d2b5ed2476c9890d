{{- define "migrationd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that the longest suffix (-dev-postgres) still makes a name. */}}
{{- define "migrationd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "migrationd.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "migrationd.instanceLabels" -}}
app.kubernetes.io/name: {{ include "migrationd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What selects the server's pods; the component keeps those of the test and of devPostgres apart. Never changes. */}}
{{- define "migrationd.selectorLabels" -}}
{{ include "migrationd.instanceLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{/* Labels of the server's pods. Not the chart's version: a new chart alone should not make new pods. */}}
{{- define "migrationd.podLabels" -}}
{{ include "migrationd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of every object but its component. */}}
{{- define "migrationd.commonLabels" -}}
{{ include "migrationd.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "migrationd.labels" -}}
{{ include "migrationd.commonLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "migrationd.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "migrationd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "migrationd.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the URLs. */}}
{{- define "migrationd.secretName" -}}
{{- if .Values.devPostgres.enabled -}}
{{- include "migrationd.devPostgresName" . -}}
{{- else -}}
{{- .Values.existingSecret | default (include "migrationd.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "migrationd.devPostgresName" -}}
{{- include "migrationd.fullname" . }}-dev-postgres
{{- end -}}

{{- define "migrationd.tokensFile" -}}
{{- with .Values.auth.tokens -}}
/etc/migrationd/{{ ternary "tokens" "secret" (ne .existingSecret "") }}/{{ .key }}
{{- end -}}
{{- end -}}

{{- define "migrationd.tlsSecretName" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "migrationd.fullname" .)) -}}
{{- end -}}

{{/* The folder in which ca.crt says who may connect. */}}
{{- define "migrationd.clientCaFolder" -}}
/etc/migrationd/{{ ternary "tls-client-ca" "tls" (kindIs "string" .Values.tls.clientCa) }}
{{- end -}}

{{/* How pods of the cluster reach the server; the certificate has to name it. */}}
{{- define "migrationd.serviceHost" -}}
{{ include "migrationd.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* "true" where there is a pod for `helm test`. With mutual TLS it needs a certificate of its own: the server's has the server's key. */}}
{{- define "migrationd.hasTestPod" -}}
{{- if and .Values.tests.enabled (or (not .Values.tls.clientCa) .Values.tests.clientCertificate.existingSecret) -}}
true
{{- end -}}
{{- end -}}

{{/* Kubernetes 1.30 knows the preStop action `sleep`; the image has no shell to do it with. */}}
{{- define "migrationd.preStopSleepSeconds" -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version -}}
{{- .Values.preStopSleepSeconds | int -}}
{{- else -}}
0
{{- end -}}
{{- end -}}

{{/* What a schema cannot say. */}}
{{- define "migrationd.validate" -}}
{{- with .Values -}}
{{- if le (int .terminationGracePeriodSeconds) (add (int .preStopSleepSeconds) 10 | int) -}}
{{- fail (printf "terminationGracePeriodSeconds (%d) must be more than preStopSleepSeconds (%d) + 10: migrationd takes up to 10 seconds to stop in order." (int .terminationGracePeriodSeconds) (int .preStopSleepSeconds)) -}}
{{- end -}}
{{- if and .tls.clientCa (not .tls.enabled) -}}
{{- fail "tls.clientCa needs tls.enabled: without TLS no certificate of a client is seen." -}}
{{- end -}}
{{- if and .devPostgres.enabled .existingSecret -}}
{{- fail "devPostgres.enabled and existingSecret exclude each other: the URLs come from one of them. devPostgres is for trying out only." -}}
{{- end -}}
{{- if and .devPostgres.enabled .auth.tokens.enabled (not .auth.tokens.existingSecret) -}}
{{- fail "auth.tokens.enabled with devPostgres.enabled needs auth.tokens.existingSecret: the Secret of devPostgres holds no tokens." -}}
{{- end -}}
{{- $targets := .targets -}}
{{- range $name, $_ := .health -}}
{{- if not (has $name $targets) -}}
{{- fail (printf "health.%s: there is no target of that name among targets (%s)." $name (join ", " $targets)) -}}
{{- end -}}
{{- end -}}
{{- if and .podDisruptionBudget.enabled (eq (kindIs "invalid" .podDisruptionBudget.maxUnavailable) (kindIs "invalid" .podDisruptionBudget.minAvailable)) -}}
{{- fail "podDisruptionBudget takes one of maxUnavailable and minAvailable; set the other to null." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration file: what is neither an argument nor a variable. The URLs of the targets are variables. */}}
{{- define "migrationd.config" -}}
targets:
{{- range $name, $health := .Values.health }}
  {{ $name }}:
    health:
      {{- toYaml $health | nindent 6 }}
{{- end }}
{{- end }}

{{- define "migrationd.configName" -}}
{{ include "migrationd.fullname" . | trunc 47 | trimSuffix "-" }}-config-{{ include "migrationd.config" . | sha256sum | trunc 8 }}
{{- end }}
