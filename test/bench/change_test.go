package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestShapes(t *testing.T) {
	variables, err := base().withOrganization("org3").withOrderer("orderer3").variables()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-var", `organizations={"org1":["peer0"],"org2":["peer0"],"org3":["peer0"]}`,
		"-var", `orderers=["orderer0","orderer1","orderer2","orderer3"]`, "-var", "max_message_count=10", "-var", "orderer_memory=512",
	}
	if !slices.Equal(variables, want) {
		t.Errorf("got %q, want %q", variables, want)
	}
	one := base()
	one.withOrganization("org3")
	one.withOrderer("orderer3")
	if len(one.organizations) != 2 || len(one.orderers) != 3 {
		t.Error("a shape made from another one changes it")
	}
}

// TestLargeShape: the network has the 56 containers that its figures are about.
func TestLargeShape(t *testing.T) {
	s := large()
	peers := 0
	for _, names := range s.organizations {
		peers += len(names)
	}
	if got := len(s.organizations) + 1 + len(s.orderers) + 2*peers; got != 56 {
		t.Errorf("it has %d containers", got)
	}
}

func TestStartOf(t *testing.T) {
	begin, end, err := startOf("2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.350000001Z")
	if err != nil || end.Sub(begin) != 250*time.Millisecond+1 {
		t.Errorf("got %s, %v", end.Sub(begin), err)
	}
	if _, _, err := startOf("", "2026-01-02T03:04:05Z"); err == nil {
		t.Error("no time was read as one")
	}
}

// TestReportOfParts: a run that measures only a part reports that part.
func TestReportOfParts(t *testing.T) {
	r := sample()
	r.Terraform, r.Direct = terraformReport{}, directReport{}
	if text := r.text(); !strings.Contains(text, "Changes under load") || strings.Contains(text, "Direct") || strings.Contains(text, "Totals") {
		t.Errorf("of changes alone it says\n%s", text)
	}
	r = sample()
	r.Changes, r.Large = changesReport{}, largeReport{}
	if text := r.text(); strings.Contains(text, "Changes under load") || strings.Contains(text, "A network of") {
		t.Errorf("of a bring-up alone it says\n%s", text)
	}
}
