package example

import (
	"path/filepath"
	"slices"
	"testing"
)

func TestFind(t *testing.T) {
	folder := t.TempDir()
	const ours = "terraform {\n  required_providers {\n    fabric = { source = \"fabricops/fabric\" }\n  }\n}\n"
	for file, content := range map[string]string{
		"quickstart/main.tf":                   ours,
		"quickstart/steps/01.tfvars":           "",
		"quickstart/.terraform/modules/a/x.tf": ours,
		"resources/fabric_network/resource.tf": `resource "fabric_network" "dev" {}`,
		"resources/fabric_network/provider.tf": "source   =   \"registry.example.com/fabricops/fabric\"",
		"functions/package_id/function.tf":     `output "id" {}`,
		"application/client/main.go":           ours,
		"consortium/org1/main.tf":              ours,
		"consortium/org2/main.tf":              ours,
		"consortium/steps/01-org1.tfvars":      "",
	} {
		write(t, filepath.Join(folder, file), content)
	}
	examples, fragments, err := Find(folder)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"consortium", "quickstart", "resources/fabric_network"}; !slices.Equal(examples, want) {
		t.Errorf("examples %q, want %q", examples, want)
	}
	if want := []string{"functions/package_id"}; !slices.Equal(fragments, want) {
		t.Errorf("fragments %q, want %q", fragments, want)
	}
	if _, _, err := Find(filepath.Join(folder, "absent")); err == nil {
		t.Error("an absent folder is no error")
	}
}
