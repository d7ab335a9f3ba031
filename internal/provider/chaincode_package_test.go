package provider

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// TestChaincodePackageRefusals: packages of two origins or none, what does not go with them, and servers that
// cannot be.
func TestChaincodePackageRefusals(t *testing.T) {
	kv := func(name, attributes string) string {
		return fmt.Sprintf("resource \"fabric_chaincode\" %q {\n  channel = local.channel\n  name = \"kv\"\n  version = \"1.0\"\n  %s\n}\n", name, attributes)
	}
	expectRefusals(t, nowhere+handles+
		kv("nothing", ``)+
		kv("two_origins", `package = { type = "golang", path = "a", archive = "b" }`)+
		kv("no_origin", `package = { type = "golang" }`)+
		kv("no_type", `package = { path = "a" }`)+
		kv("unknown_type", `package = { type = "rust", path = "a" }`)+
		kv("archive_with_type", `package = { type = "node", archive = "a" }`)+
		kv("archive_with_main", `package = { main = "cmd", archive = "a" }`)+
		kv("main_of_node", `package = { type = "node", path = "a", main = "cmd" }`)+
		kv("secret_twice", `server = { image = "kv:1", env = { A = "1" }, secret_env_wo = { A = "2" }, secret_env_wo_version = "1" }`)+
		kv("secret_without_version", `server = { image = "kv:1", secret_env_wo = { A = "2" } }`)+
		kv("per_channel", `server = { image = "kv:1", per = "channel" }`)+
		kv("served_source", "server = { image = \"kv:1\" }\n  package = { type = \"java\", path = \"a\" }")+
		kv("indexes", "package = { type = \"java\", path = \"a\" }\n  indexes = { \"a.json\" = \"{}\" }"),
		`Missing server with fabric_chaincode.nothing`,
		`Variable given twice with fabric_chaincode.secret_twice`,
		`Missing version of secrets with fabric_chaincode.secret_without_version`,
		`Attribute server.per value must be one of`,
		`Package of two origins with fabric_chaincode.two_origins`,
		`Package of no origin with fabric_chaincode.no_origin`,
		`Missing type with fabric_chaincode.no_type`,
		`Attribute package.type value must be one of`,
		`Type of an archive with fabric_chaincode.archive_with_type`,
		`Main package of an archive with fabric_chaincode.archive_with_main`,
		`Main package without Go with fabric_chaincode.main_of_node`,
		`Server of a chaincode that peers run with fabric_chaincode.served_source`,
		`Indexes beside a package with fabric_chaincode.indexes`,
	)
}

// TestChaincodePackagesAreRefusedAtPlan: what is wrong with a folder or a file.
func TestChaincodePackagesAreRefusedAtPlan(t *testing.T) {
	in := t.TempDir()
	put := func(name string, content []byte) string {
		t.Helper()
		at := filepath.Join(in, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	put("go/go.mod", []byte("module example.com/kv\n"))
	put("go/main.go", []byte("package main\n"))
	golang, err := lifecycle.Source{Label: "go_1", Type: lifecycle.TypeGolang, Folder: filepath.Join(in, "go")}.Package()
	if err != nil {
		t.Fatal(err)
	}
	ccaas := func(label, address string) []byte {
		t.Helper()
		packed, err := lifecycle.Package(lifecycle.PackageRequest{Label: label, Connection: lifecycle.Connection{Address: address}})
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	ours := ccaas("kv_9", network.ServerAddress("trade", "kv_9"))
	damaged := bytes.Clone(ours)
	damaged[len(damaged)/2] ^= 0x10
	kv := func(name, source, more string) string {
		return fmt.Sprintf("resource \"fabric_chaincode\" %[1]q {\n  channel = local.channel\n  name = %[1]q\n  version = \"1.0\"\n  package = { %[2]s }\n  %[3]s\n}\n", name, source, more)
	}
	archive := func(file string, content []byte) string { return fmt.Sprintf("archive = %q", put(file, content)) }
	if err := os.Symlink("main.go", filepath.Join(in, "go", "again.go")); err != nil {
		t.Fatal(err)
	}
	expectRefusals(t, nowhere+handles+
		kv("none", `archive = "/nowhere/kv.tar.gz"`, "")+
		kv("folder", fmt.Sprintf("archive = %q", in), "")+
		kv("damaged", archive("damaged.tar.gz", damaged), "")+
		kv("labelled", archive("ours.tar.gz", ours), `label = "kv_8"`)+
		kv("elsewhere", archive("elsewhere.tar.gz", ccaas("kv_9", "kv:7052")), `server = { image = "kv:1" }`)+
		kv("built", archive("golang.tar.gz", golang), `server = { image = "kv:1" }`)+
		kv("linked", fmt.Sprintf("type = \"golang\", path = %q", filepath.Join(in, "go")), "")+
		kv("nothing", `type = "node", path = "/nowhere/kv"`, ""),
		`Package that cannot be read with fabric_chaincode.none`,
		`is no regular file`,
		`Package that cannot be read with fabric_chaincode.damaged`,
		`Label of another package with fabric_chaincode.labelled`,
		`Server that no peer would reach with fabric_chaincode.elsewhere`,
		`Server of a chaincode that peers run with fabric_chaincode.built`,
		`again.go is a symbolic link`,
		`Package that cannot be read with fabric_chaincode.nothing`,
	)
}
