"""The Helm chart's generated files: values, schema, roles and CRDs; and its uninstall check."""
