package example

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLongDiscover finds everything of the complete example, which has one of each kind, with a Terraform
// that lists; what it writes of it imports by resource identity, and plans empty.
func TestLongDiscover(t *testing.T) {
	newer := os.Getenv("FABRIC_TERRAFORM_NEWER")
	if os.Getenv("TF_ACC") == "" || os.Getenv("FABRIC_LONG") == "" || newer == "" {
		t.Skip("TF_ACC=1, FABRIC_LONG=1 and FABRIC_TERRAFORM_NEWER, a Terraform from 1.14 on, find what is on a Docker engine")
	}
	binary := providerForTest(t)
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			name := "discovered-" + strings.ReplaceAll(version, ".", "")
			ctx, cancel := context.WithTimeoutCause(t.Context(), exampleTimeout, fmt.Errorf("no end after %s", exampleTimeout))
			defer cancel()
			err := Run(ctx, Options{
				// The state of what is found is one of the Terraform that everything else is applied with.
				Folder: filepath.Join(examplesFolder, "complete"), Binary: binary, TerraformPath: terraformForTest(t, "complete"),
				Vars: map[string]string{"network": name, "fabric_version": version}, Log: logWriter{t}, Shared: true,
				After: func(ctx context.Context, dir string) error { return discover(ctx, t, newer, binary, dir, name) },
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// discover finds what the state in dir is of, with nothing to start from but the provider.
func discover(ctx context.Context, t *testing.T, path, binary, dir, name string) error {
	t.Helper()
	scratch := t.TempDir()
	cliConfig, err := writeCLIConfig(binary, scratch)
	if err != nil {
		return err
	}
	found := filepath.Join(scratch, "found")
	write(t, filepath.Join(found, "main.tf"), "terraform {\n  required_providers {\n    fabric = { source = \"fabricops/fabric\" }\n  }\n}\n\nprovider \"fabric\" {}\n")
	terraform, err := newTerraform(Options{TerraformPath: path, Log: logWriter{t}}, cliConfig, scratch, &root{dir: found})
	if err != nil {
		return err
	}
	kinds, err := listed(ctx, terraform)
	if err != nil {
		return err
	}
	queries := ""
	for _, kind := range kinds {
		queries += fmt.Sprintf("list %q \"all\" {\n  provider = fabric\n  config {\n    network = %q\n  }\n}\n", kind, name)
	}
	write(t, filepath.Join(found, "all.tfquery.hcl"), queries)
	if _, err := terraform.run(ctx, "query", "-generate-config-out=found.tf"); err != nil {
		return err
	}
	// A transaction is not listed, and imported by its identity all the same.
	transaction, err := transactionOf(filepath.Join(dir, "terraform.tfstate"))
	if err != nil {
		return err
	}
	write(t, filepath.Join(found, "transaction.tf"), fmt.Sprintf("import {\n  to       = fabric_transaction.first\n  provider = fabric\n  identity = {\n    network        = %q\n    channel        = \"trade\"\n    transaction_id = %q\n  }\n}\n", name, transaction))
	if _, err := terraform.run(ctx, "plan", "-input=false", "-generate-config-out=more.tf", "-out="+planFile); err != nil {
		return err
	}
	planned, err := terraform.capture(ctx, "show", "-json", planFile)
	if err != nil {
		return err
	}
	if err := onlyImports(planned); err != nil {
		return err
	}
	for _, kind := range append(kinds, "fabric_transaction") {
		if !strings.Contains(string(planned), `"type":"`+kind+`"`) {
			t.Errorf("no %s was found", kind)
		}
	}
	if _, err := terraform.run(ctx, "apply", "-input=false", planFile); err != nil {
		return err
	}
	// Terraform refuses a provider in the import block of something that is configured by now.
	if err := os.Remove(filepath.Join(found, "transaction.tf")); err != nil {
		return err
	}
	_, err = terraform.run(ctx, "plan", "-detailed-exitcode", "-input=false")
	return err
}

// listed gives the types of the list resources.
func listed(ctx context.Context, terraform *terraform) ([]string, error) {
	content, err := terraform.capture(ctx, "providers", "schema", "-json")
	if err != nil {
		return nil, err
	}
	var schemas struct {
		Providers map[string]struct {
			ListResources map[string]any `json:"list_resource_schemas"`
		} `json:"provider_schemas"`
	}
	if err := json.Unmarshal(content, &schemas); err != nil {
		return nil, err
	}
	var kinds []string
	for _, provider := range schemas.Providers {
		kinds = slices.AppendSeq(kinds, maps.Keys(provider.ListResources))
	}
	if len(kinds) == 0 {
		return nil, fmt.Errorf("the provider lists nothing")
	}
	slices.Sort(kinds)
	return kinds, nil
}

// transactionOf gives the transaction ID of fabric_transaction.first.
func transactionOf(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var state struct {
		Resources []struct {
			Type, Name string
			Instances  []struct {
				Attributes struct {
					ID string `json:"transaction_id"`
				}
			}
		}
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return "", err
	}
	for _, r := range state.Resources {
		if r.Type == "fabric_transaction" && r.Name == "first" && len(r.Instances) > 0 {
			return r.Instances[0].Attributes.ID, nil
		}
	}
	return "", fmt.Errorf("no fabric_transaction.first in %s", file)
}

func TestOnlyImports(t *testing.T) {
	change := func(address, actions, importing string) string {
		return fmt.Sprintf(`{"address":%q,"change":{"actions":[%s]%s}}`, address, actions, importing)
	}
	const importing = `,"importing":{"id":"x"}`
	for name, test := range map[string]struct{ changes, says string }{
		"imports":            {change("a", `"no-op"`, importing) + "," + change("b", `"no-op"`, importing), ""},
		"nothing":            {"", "nothing was found"},
		"changes one":        {change("a", `"no-op"`, importing) + "," + change("b", `"update"`, importing), "b is not only imported: update"},
		"makes one":          {change("a", `"create"`, ""), "a is not only imported: create"},
		"knows one that was": {change("a", `"no-op"`, ""), "a is not only imported"},
	} {
		err := onlyImports([]byte(`{"resource_changes":[` + test.changes + `]}`))
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if onlyImports([]byte("no JSON")) == nil {
		t.Error("what is no JSON is taken")
	}
}
