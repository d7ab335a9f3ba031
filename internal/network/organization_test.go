package network

import (
	"errors"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

func (h *house) organizationSpec(mspID, from string) OrganizationSpec {
	ca := h.ca(from)
	return OrganizationSpec{Handle: h.organization(mspID), CA: &ca, Image: "fabric-ca:1.5.13"}
}

func (h *house) createOrganization(spec OrganizationSpec) (OrganizationState, error) {
	if err := h.fabric.PreflightOrganization(h.ctx(), spec); err != nil {
		return OrganizationState{}, err
	}
	return h.fabric.CreateOrganization(h.ctx(), spec)
}

func TestOrganizationOfACA(t *testing.T) {
	h, _, authority := started(t, "ca.org1")
	spec := h.organizationSpec("Org1MSP", "ca.org1")
	made, err := h.createOrganization(spec)
	h.must(err)
	if made.CA != "ca.org1" || made.Definition.ID != "Org1MSP" || made.Definition.RootCertificates[0] != authority.Enrollment || made.Definition.TLSRootCertificates[0] != authority.TLS {
		t.Errorf("made %+v", made)
	}
	h.verifyMember(made.Definition, []byte(made.AdminCertificate))
	h.restart()
	read, err := h.fabric.ReadOrganization(h.ctx(), spec.Handle)
	h.must(err)
	if read.AdminCertificate != made.AdminCertificate || read.Superseded || read.Lost {
		t.Errorf("read %+v", read)
	}
	h.must(h.fabric.PreflightOrganization(h.ctx(), spec)) // after an apply that was killed before Terraform heard of it
	_, err = h.fabric.CreateOrganization(h.ctx(), spec)
	h.must(err)
	if err := h.fabric.PreflightOrganization(h.ctx(), spec); !errors.Is(err, ErrExists) {
		t.Errorf("the same MSP again: %v", err)
	}
	other := h.organizationSpec("Org2MSP", "ca.org1")
	if err := h.fabric.PreflightOrganization(h.ctx(), other); err == nil || !strings.Contains(err.Error(), "Org1MSP") || !strings.Contains(err.Error(), "CA ca.org1") {
		t.Errorf("another MSP of the same CA: %v", err)
	}

	// After a lost state the keys are taken up as they are.
	h.restart()
	h.fabric.Adopt(h.network.Owner)
	taken, err := h.createOrganization(spec)
	h.must(err)
	if taken.AdminCertificate != made.AdminCertificate {
		t.Error("the admin was enrolled again")
	}
}

func TestOrganizationMadeAgain(t *testing.T) {
	h, server, _ := started(t, "ca.org1")
	spec := h.organizationSpec("Org1MSP", "ca.org1")
	first, err := h.createOrganization(spec)
	h.must(err)
	h.must(h.fabric.DeleteOrganization(h.ctx(), spec.Handle))
	h.must(h.fabric.DeleteOrganization(h.ctx(), spec.Handle)) // gone is success
	if read, err := h.fabric.ReadOrganization(h.ctx(), spec.Handle); err != nil || !read.Lost {
		t.Errorf("read %+v, %v", read, err)
	}
	h.fake.VanishNode("dev-ca.org1") // its image is not known then, and the CA cannot be asked
	h.restart()
	if _, err := h.fabric.CreateOrganization(h.ctx(), spec); err == nil {
		t.Error("an organization was made without its CA")
	}
	_, err = h.update(h.caSpec("ca.org1"))
	h.must(err)
	again, err := h.fabric.CreateOrganization(h.ctx(), spec)
	h.must(err)
	if again.AdminCertificate == first.AdminCertificate || server.registered("admin") == nil {
		t.Error("the admin is the old one")
	}
}

func TestOrganizationLost(t *testing.T) {
	h, _ := orgHouse(t)
	h.fake.VanishNode("dev-Org1MSP-keys")
	h.fake.VanishVolume("dev-Org1MSP-keys")
	h.restart()
	mutations := h.fake.Mutations()
	read, err := h.fabric.ReadOrganization(h.ctx(), h.organization("Org1MSP"))
	if err != nil || !read.Lost {
		t.Errorf("read %+v, %v", read, err)
	}
	_, err = h.fabric.UpdateIdentity(h.ctx(), h.identitySpec("alice"), nil)
	if lost := new(LostError); !errors.As(err, &lost) || lost.Volume != "dev-Org1MSP-keys" {
		t.Errorf("an identity of it: %v", err)
	}
	if h.fake.Mutations() != mutations {
		t.Error("something was made")
	}
}

// A CA that was begun anew leaves its organization with roots that nobody has the keys of.
func TestOrganizationSuperseded(t *testing.T) {
	h, _ := orgHouse(t)
	h.fake.VanishNode("dev-ca.org1")
	h.fake.VanishVolume("dev-ca.org1")
	h.restart()
	read, err := h.fabric.ReadOrganization(h.ctx(), h.organization("Org1MSP"))
	if err != nil || read.Superseded {
		t.Errorf("while its CA is lost: %+v, %v", read, err)
	}
	spec := h.caSpec("ca.org1")
	spec.AcceptDataLoss = true
	_, err = h.update(spec)
	h.must(err)
	read, err = h.fabric.ReadOrganization(h.ctx(), h.organization("Org1MSP"))
	if err != nil || !read.Superseded {
		t.Errorf("after its CA was begun anew: %+v, %v", read, err)
	}
}

func TestOrganizationOfAPartner(t *testing.T) {
	h, _, authority := started(t, "ca.org1")
	partner := msp.Definition{ID: "Org9MSP", RootCertificates: []string{authority.Enrollment}, TLSRootCertificates: []string{authority.TLS}}
	spec := OrganizationSpec{Handle: h.organization("Org9MSP"), Definition: partner, Image: "fabric-ca:1.5.13"}
	made, err := h.createOrganization(spec)
	h.must(err)
	if made.CA != "" || made.AdminCertificate != "" || made.Definition.RootCertificates[0] != authority.Enrollment {
		t.Errorf("made %+v", made)
	}
	identity := h.identitySpec("alice")
	identity.Handle = h.identity("alice", "Org9MSP")
	if err := h.fabric.PreflightIdentity(h.ctx(), identity); err == nil || !strings.Contains(err.Error(), "partner") {
		t.Errorf("an identity of a partner: %v", err)
	}
	broken := spec
	broken.Handle, broken.Definition.RootCertificates = h.organization("Org8MSP"), []string{"no certificate"}
	mutations := h.fake.Mutations()
	if _, err := h.createOrganization(broken); err == nil || h.fake.Mutations() != mutations {
		t.Errorf("certificates that are none: %v", err)
	}
}

func TestOrganizationOfForeignKeys(t *testing.T) {
	h, _, _ := started(t, "ca.org1")
	h.fake.AddVolume(engine.Volume{Name: "dev-Org1MSP-keys", Labels: map[string]string{engine.LabelOwner: "another"}})
	mutations := h.fake.Mutations()
	if err := h.fabric.PreflightOrganization(h.ctx(), h.organizationSpec("Org1MSP", "ca.org1")); !errors.Is(err, engine.ErrForeign) || !strings.Contains(err.Error(), `"another"`) {
		t.Errorf("preflight: %v", err)
	}
	if _, err := h.fabric.ReadOrganization(h.ctx(), h.organization("Org1MSP")); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("read: %v", err)
	}
	if err := h.fabric.DeleteOrganization(h.ctx(), h.organization("Org1MSP")); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("delete: %v", err)
	}
	if did := h.fake.Mutations() - mutations; did > 2 {
		t.Errorf("%d calls changed something", did)
	}
	if _, err := h.fake.Volume(h.ctx(), "dev-Org1MSP-keys"); err != nil {
		t.Error(err)
	}
}
