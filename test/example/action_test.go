package example

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/archive"
)

const actionPassphrase = "canary-of-an-action-3Kf8"

// TestLongBackupAction takes backups by the action, with a Terraform that has actions: one that a resource
// triggers, and one by hand.
func TestLongBackupAction(t *testing.T) {
	newer := os.Getenv("FABRIC_TERRAFORM_NEWER")
	if os.Getenv("TF_ACC") == "" || os.Getenv("FABRIC_LONG") == "" || newer == "" {
		t.Skip("TF_ACC=1, FABRIC_LONG=1 and FABRIC_TERRAFORM_NEWER, a Terraform from 1.14 on, invoke actions on a Docker engine")
	}
	name := "backup-action"
	if prefix := os.Getenv("TEST_NETWORK_PREFIX"); prefix != "" { // several on one engine
		name = prefix + "-" + name
	}
	scratch := t.TempDir()
	cliConfig, err := writeCLIConfig(providerForTest(t), scratch)
	if err != nil {
		t.Fatal(err)
	}
	dir, triggered, byHand := filepath.Join(scratch, "root"), filepath.Join(scratch, "triggered.backup"), filepath.Join(scratch, "by-hand.backup")
	write(t, filepath.Join(dir, "main.tf"), fmt.Sprintf(`
terraform {
  required_providers {
    fabric = { source = "fabricops/fabric" }
  }
}

variable "passphrase_file" {
  type = string
}

resource "fabric_network" "this" {
  name   = %q
  domain = "example.com"
}

resource "fabric_ca" "org1" {
  network             = fabric_network.this.handle
  name                = "ca.org1"
  organization        = "org1"
  deletion_protection = false
}

resource "fabric_organization" "org1" {
  msp_id = "Org1MSP"
  ca     = fabric_ca.org1.handle

  lifecycle {
    action_trigger {
      events  = [after_create]
      actions = [action.fabric_backup.triggered]
    }
  }
}

action "fabric_backup" "triggered" {
  config {
    network         = fabric_network.this.handle
    path            = %q
    passphrase_file = var.passphrase_file
  }
}

action "fabric_backup" "by_hand" {
  config {
    network         = fabric_network.this.handle
    path            = %q
    passphrase_file = var.passphrase_file
    max_unavailable = 1
    timeouts        = { invoke = "3m" }
  }
}
`, name, triggered, byHand))
	good, short := filepath.Join(scratch, "passphrase"), filepath.Join(scratch, "short")
	write(t, good, actionPassphrase+"\n")
	write(t, short, "too short\n")
	terraform, err := newTerraform(Options{TerraformPath: newer, Log: logWriter{t}, Trace: true, Env: []string{"TF_VAR_passphrase_file=" + good}}, cliConfig, scratch, &root{dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, arguments ...string) {
		t.Helper()
		if _, err := terraform.run(ctx, arguments...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { run(context.WithoutCancel(t.Context()), "destroy", "-auto-approve", "-input=false") })
	run(t.Context(), "apply", "-auto-approve", "-input=false")
	first := whole(t, triggered)
	run(t.Context(), "plan", "-detailed-exitcode", "-input=false")

	if _, err := terraform.run(t.Context(), "apply", "-auto-approve", "-input=false", "-var=passphrase_file="+short, "-invoke=action.fabric_backup.by_hand"); err == nil || !strings.Contains(err.Error(), "one line of 12 characters") {
		t.Errorf("a short passphrase: %v", err)
	}
	if _, err := os.Stat(byHand); !os.IsNotExist(err) {
		t.Errorf("it took a backup all the same: %v", err)
	}
	run(t.Context(), "apply", "-auto-approve", "-input=false", "-invoke=action.fabric_backup.by_hand")
	if second := whole(t, byHand); len(second.Volumes) != len(first.Volumes) || len(first.Volumes) == 0 {
		t.Errorf("the archives have %d and %d volumes", len(first.Volumes), len(second.Volumes))
	}
	if content := whole(t, triggered); content.Taken != first.Taken {
		t.Error("the other action was invoked too")
	}
	run(t.Context(), "plan", "-detailed-exitcode", "-input=false")
	run(t.Context(), "plan", "-input=false", "-invoke=action.fabric_backup.by_hand", "-out="+planFile)
	for _, file := range []string{filepath.Join(dir, "terraform.tfstate"), filepath.Join(dir, planFile), terraform.traceLog} {
		if content, err := os.ReadFile(file); err != nil || bytes.Contains(content, []byte(actionPassphrase)) {
			t.Errorf("%s has the passphrase, or cannot be read: %v", filepath.Base(file), err)
		}
	}
}

// whole verifies an archive.
func whole(t *testing.T, file string) archive.Manifest {
	t.Helper()
	manifest, _, err := archive.Verify(file, actionPassphrase)
	if err != nil {
		t.Fatal(err)
	}
	return manifest
}
