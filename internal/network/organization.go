package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// OrganizationSpec is an organization: one whose certificates come from a CA of this network, or a
// partner's, given by its definition.
type OrganizationSpec struct {
	// Handle is of kind organization; its name is the MSP ID.
	Handle Handle
	// CA issues the organization's certificates; nil for a partner's organization.
	CA *Handle
	// Definition is the partner's.
	Definition msp.Definition
	// Image is any image of the engine, for the keeper of a partner's key volume.
	Image string
}

// OrganizationState is what is known of an organization.
type OrganizationState struct {
	// CA is the name of its CA; empty for a partner's.
	CA         string
	Definition msp.Definition
	// AdminCertificate is the admin's, in PEM; empty for a partner's.
	AdminCertificate string
	// Lost tells that the key volume is gone.
	Lost bool
}

// PreflightOrganization finds what would fail before anything is made.
func (f *Fabric) PreflightOrganization(ctx context.Context, spec OrganizationSpec) error {
	if err := f.requireNetwork(ctx, spec.Handle); err != nil {
		return err
	}
	volume, err := f.engine.Volume(ctx, spec.Handle.keys())
	switch {
	case errors.Is(err, engine.ErrNotFound):
	case err != nil:
		return err
	case volume.Labels[engine.LabelOwner] != spec.Handle.Owner:
		return &engine.ForeignError{Kind: "volume", Name: volume.Name, Owner: volume.Labels[engine.LabelOwner]}
	}
	return nil
}

// CreateOrganization records the organization in a key volume of its own and enrols its admin.
// What an earlier attempt did is kept.
func (f *Fabric) CreateOrganization(ctx context.Context, spec OrganizationSpec) (OrganizationState, error) {
	record := struct {
		CA         string         `json:"ca,omitempty"`
		Definition msp.Definition `json:"definition"`
	}{Definition: spec.Definition}
	labels := map[string]string{}
	image := spec.Image
	if spec.CA != nil {
		keys, err := f.caKeys(ctx, *spec.CA)
		if err != nil {
			return OrganizationState{}, err
		}
		if record.Definition, err = keys.definition(spec.Handle.MSPID); err != nil {
			return OrganizationState{}, err
		}
		record.CA, labels[labelCA] = spec.CA.Name, spec.CA.Name
		node, err := f.engine.Node(ctx, spec.CA.Object())
		if err != nil {
			return OrganizationState{}, fmt.Errorf("unable to read %s: %w", *spec.CA, err)
		}
		image = node.ImageID
	}
	if err := record.Definition.Validate(); err != nil {
		return OrganizationState{}, err
	}
	resolved, err := f.engine.ResolveImage(ctx, image)
	if err != nil {
		return OrganizationState{}, err
	}
	if err := f.createKeys(ctx, spec.Handle, resolved.ID, labels); err != nil {
		return OrganizationState{}, err
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return OrganizationState{}, err
	}
	files := map[string][]byte{organizationRecord: raw}
	if spec.CA != nil {
		if err := f.enrollMember(ctx, spec.Handle, *spec.CA, adminFolder, ca.Registration{ID: "admin", Type: "admin", MaxEnrollments: ca.Unlimited}, files); err != nil {
			return OrganizationState{}, err
		}
	}
	if err := f.writeStore(ctx, spec.Handle.keys(), files); err != nil {
		return OrganizationState{}, err
	}
	f.stores.set(spec.Handle.keys(), nil)
	return f.ReadOrganization(ctx, spec.Handle)
}

// enrollMember enrols an identity of an organization into a folder of its key volume, unless it is
// there already. The files are added to files, to be written together with others.
func (f *Fabric) enrollMember(ctx context.Context, org, from Handle, folder string, registration ca.Registration, files map[string][]byte) error {
	have, err := f.readStore(ctx, org.keys())
	if err != nil {
		return err
	}
	if len(have[folder+"/cert.pem"]) > 0 && len(have[folder+"/key.pem"]) > 0 {
		return nil
	}
	enrollment, err := f.enrollNew(ctx, from, enrollmentCA, registration, ca.EnrollRequest{})
	if err != nil {
		return err
	}
	return putPair(files, folder, enrollment.KeyPair)
}

// ReadOrganization reads the organization back.
func (f *Fabric) ReadOrganization(ctx context.Context, h Handle) (OrganizationState, error) {
	keys, err := f.organizationKeys(ctx, h)
	if errors.Is(err, ErrLost) {
		return OrganizationState{Lost: true}, nil
	}
	if err != nil {
		return OrganizationState{}, err
	}
	return OrganizationState{
		CA: keys.CA, Definition: keys.Definition, AdminCertificate: string(keys.files[adminFolder+"/cert.pem"]),
	}, nil
}

// DeleteOrganization removes the organization's key volume with every key in it, its admin's among
// them. The admin's registration at the CA goes too, when the CA can be reached.
func (f *Fabric) DeleteOrganization(ctx context.Context, h Handle) error {
	return f.removeKeys(ctx, h)
}
