package example

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTurns(t *testing.T) {
	folder := t.TempDir()
	for _, file := range []string{"org1/main.tf", "org1-peers/main.tf", "steps/02-org1-peers-more.tfvars", "steps/01-org1.tfvars", "steps/03-org1-joins.tfvars", "notes/README.md"} {
		write(t, filepath.Join(folder, file), "")
	}
	all, err := turns(folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, turn := range all {
		got = append(got, turn.root+":"+stepName(turn.step))
	}
	if want := []string{"org1:01-org1", "org1-peers:02-org1-peers-more", "org1:03-org1-joins"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	write(t, filepath.Join(folder, "steps", "04-org10.tfvars"), "")
	if _, err := turns(folder); err == nil || !strings.Contains(err.Error(), "04-org10.tfvars names none of the roots org1-peers, org1") {
		t.Errorf("a step of no root: %v", err)
	}
}

// TestRunOfSeveralStates: each state is applied when its turn comes, with what the others hand over.
func TestRunOfSeveralStates(t *testing.T) {
	s := newScene(t)
	s.options.Trace = true
	folder := filepath.Join(filepath.Dir(s.options.Folder), "consortium")
	s.options.Folder = folder
	write(t, filepath.Join(folder, "org1", "main.tf"), "org1\nvariable \"orderer\" {}\n")
	write(t, filepath.Join(folder, "org1", "outputs.json"), `{"definition":{"sensitive":false,"value":{"msp_id":"Org1MSP"}}}`)
	write(t, filepath.Join(folder, "orderer", "main.tf"), "orderer\nvariable \"org1\" {}\n")
	write(t, filepath.Join(folder, "orderer", "outputs.json"), `{"address":{"value":"127.0.0.1:7050"}}`)
	for _, step := range []string{"01-org1", "02-orderer", "03-org1-joins"} {
		write(t, filepath.Join(folder, "steps", step+".tfvars"), "")
	}
	if err := Run(t.Context(), s.options); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"get", "apply -var-file steps/01-org1.tfvars", "show -json", "plan -var-file steps/01-org1.tfvars", "show -json check.tfplan",
		"get", "output -json", "apply -var-file steps/02-orderer.tfvars", "show -json", "plan -var-file steps/02-orderer.tfvars", "show -json check.tfplan",
		"output -json", "apply -var-file steps/03-org1-joins.tfvars", "show -json", "plan -var-file steps/03-org1-joins.tfvars", "show -json check.tfplan",
		"plan -var-file steps/03-org1-joins.tfvars", "plan -var-file steps/02-orderer.tfvars",
		"destroy -var-file steps/02-orderer.tfvars", "destroy -var-file steps/03-org1-joins.tfvars",
	}
	if got := s.commands(t); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.wantNothingLeft(t)
}

func TestHandOver(t *testing.T) {
	folder := t.TempDir()
	if err := handOver([]byte(`{"definition":{"sensitive":true,"type":"string","value":{"msp_id":"Org1MSP"}},"none":{"value":null}}`), "org1", folder); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(folder, "org1.auto.tfvars.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]any
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if none, has := got["org1"]["none"]; !has || none != nil || got["org1"]["definition"].(map[string]any)["msp_id"] != "Org1MSP" {
		t.Errorf("handed over was %s", content)
	}
	if err := handOver([]byte("no JSON"), "org1", folder); err == nil {
		t.Error("what is no JSON is handed over")
	}
}

// TestHandedOverSecret: what organizations hand each other is searched too.
func TestHandedOverSecret(t *testing.T) {
	s := newScene(t)
	folder := filepath.Join(filepath.Dir(s.options.Folder), "consortium")
	s.options.Folder = folder
	write(t, filepath.Join(folder, "org1", "main.tf"), "")
	write(t, filepath.Join(folder, "org1", "outputs.json"), `{"key":{"value":"-----BEGIN PRIVATE KEY-----"}}`)
	write(t, filepath.Join(folder, "org2", "main.tf"), `variable "org1" {}`)
	write(t, filepath.Join(folder, "steps", "01-org1.tfvars"), "")
	write(t, filepath.Join(folder, "steps", "02-org2.tfvars"), "")
	err := Run(t.Context(), s.options)
	if err == nil || !strings.Contains(err.Error(), "a private key in org1.auto.tfvars.json") {
		t.Errorf("got %v", err)
	}
}
