package example

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const versions = `terraform {
  required_providers {
    fabric = {
      source = "fabricops/fabric"
    }
  }
}
`

var (
	readmeBlock   = regexp.MustCompile("(?s)```terraform\n(.*?)```")
	protectedKind = regexp.MustCompile(`(?m)^resource "(fabric_(?:ca|peer|orderer_cluster|channel))" "(\w+)"`)
)

// TestAccReadme applies the configuration that the README shows, as it stands there. Only the protection
// from deletion is taken off, by an override file, so that it can be destroyed again.
func TestAccReadme(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 applies the README's configuration on a Docker engine")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := readmeBlock.FindSubmatch(readme)
	if found == nil {
		t.Fatal("the README shows no configuration")
	}
	config := string(found[1])
	var override strings.Builder
	for _, r := range protectedKind.FindAllStringSubmatch(config, -1) {
		fmt.Fprintf(&override, "resource %q %q {\n  deletion_protection = false\n}\n", r[1], r[2])
	}
	folder := filepath.Join(t.TempDir(), "readme")
	for name, content := range map[string]string{"main.tf": config, "versions.tf": versions, "override.tf": override.String()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), exampleTimeout, fmt.Errorf("no end after %s", exampleTimeout))
	defer cancel()
	if err := Run(ctx, Options{Folder: folder, Binary: providerForTest(t), TerraformPath: terraformForTest(t, "quickstart"), Log: logWriter{t}}); err != nil {
		t.Error(err)
	}
}

// TestReadmeIsShort holds the README's configuration to the thirty lines that it promises.
func TestReadmeIsShort(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := readmeBlock.FindSubmatch(readme)
	if found == nil {
		t.Fatal("the README shows no configuration")
	}
	lines := 0
	for line := range strings.Lines(string(found[1])) {
		if strings.TrimSpace(line) != "" {
			lines++
		}
	}
	if lines > 30 {
		t.Errorf("the README promises thirty lines and shows %d", lines)
	}
}
