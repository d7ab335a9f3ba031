// Package application runs applications on networks of this provider: the Gateway client of
// examples/application, and the program of test/sdkcompat on the archived SDK for Go. They know what
// the provider gives them and nothing else: a connection profile, and identities in directories.
package application

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/test/example"
)

const repository = "../.."

// programs are built once and shared by the tests of this package.
type programs struct{ provider, gateway, sdk string }

func build(t *testing.T) programs {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 runs applications on a Docker engine")
	}
	folder := t.TempDir()
	p := programs{provider: os.Getenv("FABRIC_PROVIDER_BINARY"), gateway: filepath.Join(folder, "application"), sdk: filepath.Join(folder, "sdkcompat")}
	wanted := map[string]string{p.gateway: "examples/application", p.sdk: "test/sdkcompat"}
	if p.provider == "" {
		p.provider = filepath.Join(folder, "terraform-provider-fabric")
		wanted[p.provider] = "."
	}
	for binary, module := range wanted {
		command := exec.CommandContext(t.Context(), "go", "-C", filepath.Join(repository, module), "build", "-o", binary, ".")
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		command.WaitDelay = time.Minute
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("unable to build %s: %v\n%s", module, err, output)
		}
	}
	return p
}

// TestAccApplications runs both programs on a network of two organizations that both must endorse,
// with each Fabric release.
func TestAccApplications(t *testing.T) {
	built := build(t)
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			network := "app-" + strings.ReplaceAll(version, ".", "")
			apply(t, built, "test/sdkcompat/network", map[string]string{"network": network, "fabric_version": version}, func(ctx context.Context, dir string) error {
				given, err := outputs(dir)
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, "profile.yaml"), []byte(given["connection_profile"]), 0o600); err != nil {
					return err
				}
				if err := useSDK(ctx, built, dir, given["package_id"]); err != nil {
					return err
				}
				return useGateway(ctx, built, dir, "-profile", "profile.yaml", "-msp", "identities/application")
			})
		})
	}
}

// TestAccApplicationExample does what the README of examples/application says.
func TestAccApplicationExample(t *testing.T) {
	built := build(t)
	apply(t, built, "examples/application", map[string]string{"network": "app-example"}, func(ctx context.Context, dir string) error {
		given, err := outputs(dir)
		if err != nil {
			return err
		}
		for file, output := range map[string]string{"profile.yaml": "connection_profile", "profile.json": "connection_profile_json"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(given[output]), 0o600); err != nil {
				return err
			}
			if err := useGateway(ctx, built, dir, "-profile", file, "-msp", given["msp"], "-channel", given["channel"], "-chaincode", given["chaincode"]); err != nil {
				return err
			}
		}
		return nil
	})
}

// apply applies a configuration, calls use in its folder, and takes everything away again.
func apply(t *testing.T, built programs, folder string, vars map[string]string, use func(ctx context.Context, dir string) error) {
	t.Helper()
	terraform := os.Getenv("TF_ACC_TERRAFORM_PATH")
	if terraform == "" {
		terraform = "terraform"
	}
	err := example.Run(t.Context(), example.Options{
		Folder: filepath.Join(repository, folder), Binary: built.provider, TerraformPath: terraform,
		Vars: vars, After: use, Log: logWriter{t}, Shared: true,
	})
	if err != nil {
		t.Error(err)
	}
}

// useSDK runs the program on fabric-sdk-go and looks whether it saw what was made.
func useSDK(ctx context.Context, built programs, dir, packageID string) error {
	output, err := output(ctx, dir, built.sdk, "-profile", "profile.yaml", "-msp", "identities/application",
		"-admin-msp", "identities/operator", "-registrar-msp", "identities/reception", "-value", "through the SDK")
	if err != nil {
		return err
	}
	var saw struct {
		MSPID     string `json:"msp_id"`
		Committed []struct {
			Name, Version string
			Sequence      int64
		}
		Installed, Enrolled []string
		Height              uint64
		Read                string
	}
	if err := json.Unmarshal(output, &saw); err != nil {
		return fmt.Errorf("unable to read what sdkcompat printed: %w\n%s", err, output)
	}
	committed := len(saw.Committed) == 1 && saw.Committed[0].Version == "1.0" && saw.Committed[0].Sequence == 1
	if saw.MSPID != "Org1MSP" || !committed || !slices.Equal(saw.Installed, []string{packageID}) ||
		saw.Height < 3 || saw.Read != "through the SDK" || len(saw.Enrolled) != 1 {
		return fmt.Errorf("sdkcompat saw something else than was made:\n%s", output)
	}
	return nil
}

// useGateway has the example application write and read a value.
func useGateway(ctx context.Context, built programs, dir string, flags ...string) error {
	value := "through the gateway, " + strings.Join(flags, " ")
	if _, err := output(ctx, dir, built.gateway, append(slices.Clone(flags), "put", "greeting", value)...); err != nil {
		return err
	}
	read, err := output(ctx, dir, built.gateway, append(slices.Clone(flags), "get", "greeting")...)
	if err != nil {
		return err
	}
	if got := strings.TrimSuffix(string(read), "\n"); got != value {
		return fmt.Errorf("the application reads %q, and wrote %q", got, value)
	}
	return nil
}

// output runs a program in a folder and gives what it prints.
func output(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	command.Dir, command.Stdout, command.Stderr = dir, &stdout, &stderr
	command.WaitDelay = 10 * time.Second
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, stderr.String())
	}
	return stdout.Bytes(), nil
}

// outputs reads the outputs that are text from the state in a folder.
func outputs(dir string) (map[string]string, error) {
	content, err := os.ReadFile(filepath.Join(dir, "terraform.tfstate"))
	if err != nil {
		return nil, err
	}
	var state struct {
		Outputs map[string]struct{ Value any }
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return nil, fmt.Errorf("unable to read the state: %w", err)
	}
	found := map[string]string{}
	for name, output := range state.Outputs {
		if text, ok := output.Value.(string); ok {
			found[name] = text
		}
	}
	return found, nil
}

// logWriter gives what is written to the test's log, which is shown when the test fails.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
