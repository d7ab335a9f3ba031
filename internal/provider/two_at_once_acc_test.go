package provider

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// TestAccTwoAtOnce: of two applies at once, with states of their own and the same names, exactly one makes
// the network. The other names its owner, and has made nothing.
func TestAccTwoAtOnce(t *testing.T) {
	name := networkName(t)
	config := "terraform {\n  required_providers {\n    fabric = { source = \"fabricops/fabric\" }\n  }\n}\n" + plainOrganizations(name, "3.1.1", "org1", "org2")
	var workspaces [2]*workspace
	var outputs [2]string
	var errs [2]error
	sweepNetwork(t, name)
	for i := range workspaces {
		workspaces[i] = newWorkspace(t, terraformUnderTest(t))
		workspaces[i].write("main.tf", config)
	}
	t.Cleanup(func() {
		for _, w := range workspaces {
			w.run("destroy", "-auto-approve")
		}
		if err := nothingLeft(t, name)(nil); err != nil {
			t.Error(err)
		}
	})
	var both sync.WaitGroup
	for i, w := range workspaces {
		both.Go(func() { outputs[i], errs[i] = w.do("apply", "-auto-approve") })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("not exactly one has won: %v, %v\n%s\n%s", errs[0], errs[1], outputs[0], outputs[1])
	}
	won, lost := 0, 1
	if errs[won] != nil {
		won, lost = 1, 0
	}
	e := localEngine(t)
	n, err := e.Network(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	owner := n.Labels[engine.LabelOwner]
	if said := plainText(outputs[lost]); !strings.Contains(said, "Unable to create network "+name) || !strings.Contains(said, owner) {
		t.Errorf("the other does not name the owner %s:\n%s", owner, outputs[lost])
	}
	nodes, err := e.Nodes(t.Context(), map[string]string{engine.LabelNetwork: name})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		if node.Labels[engine.LabelOwner] != owner {
			t.Errorf("%s is of owner %s, who has not won", node.Name, node.Labels[engine.LabelOwner])
		}
	}
	workspaces[lost].run("destroy", "-auto-approve")
	workspaces[won].run("plan", "-detailed-exitcode")
}

// TestLongParallelism makes, changes and removes a network of 56 containers with as many resources at a
// time as Terraform is ever asked to.
func TestLongParallelism(t *testing.T) {
	requireLong(t)
	const example = "../../examples/grow-network"
	name := networkName(t)
	w := acceptanceWorkspace(t, name)
	for _, file := range []string{"main.tf", "variables.tf", "outputs.tf"} {
		text, err := os.ReadFile(filepath.Join(example, file))
		if err != nil {
			t.Fatal(err)
		}
		w.write(file, string(text))
	}
	shape := func(messages int) {
		organizations := map[string][]string{}
		for i := range 10 {
			organizations[fmt.Sprintf("org%d", i+1)] = []string{"peer0", "peer1"}
		}
		raw, err := json.Marshal(map[string]any{
			"network": name, "organizations": organizations, "max_message_count": messages,
			"orderers": []string{"orderer0", "orderer1", "orderer2", "orderer3", "orderer4"},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.write("terraform.tfvars.json", string(raw))
	}
	for _, messages := range []int{10, 20} {
		shape(messages)
		w.run("apply", "-auto-approve", "-parallelism=50")
		w.run("plan", "-detailed-exitcode", "-parallelism=50")
	}
	nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{engine.LabelNetwork: name})
	if err != nil {
		t.Fatal(err)
	}
	running := 0
	for _, n := range nodes {
		if n.Status == engine.Running {
			running++
		}
	}
	if running != 56 {
		t.Errorf("%d containers run, want 56", running)
	}
	w.run("destroy", "-auto-approve", "-parallelism=50")
}
