package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Installed is a chaincode package on a peer.
type Installed struct {
	// PackageID is its ID and Label its label.
	PackageID, Label string
	// References are the committed chaincodes that run from it, by channel name.
	References map[string][]Reference
}

// Reference is a committed chaincode.
type Reference struct{ Name, Version string }

// Install puts a chaincode package on the peer and gives its package ID. It needs no channel. The
// identity is an admin of the peer's organization. A peer that has this very package is success. A
// package that is malformed is of ClassUserError, a peer that cannot build it of ClassNodeFault.
func Install(ctx context.Context, target endorser.Peer, identity *msp.Identity, packed []byte) (string, error) {
	info, err := ParsePackage(packed)
	if err != nil {
		return "", &Error{ClassUserError, err}
	}
	result := &lifecycle.InstallChaincodeResult{}
	err = invoke(ctx, target, identity, "", "InstallChaincode", &lifecycle.InstallChaincodeArgs{ChaincodeInstallPackage: packed}, result)
	if err == nil {
		if result.GetPackageId() != info.ID {
			return "", &Error{ClassNodeFault, fmt.Errorf("unable to install chaincode package %s on %s: the peer calls it %s", info.ID, target.Name, result.GetPackageId())}
		}
		return info.ID, nil
	}
	failure := fmt.Errorf("unable to install chaincode package %s on %s: %w", info.ID, target.Name, err)
	if !refused(err) {
		return "", failure
	}
	held, readErr := GetInstalled(ctx, target, identity, info.ID)
	switch {
	case readErr == nil && bytes.Equal(held, packed):
		return info.ID, nil
	case errors.Is(readErr, ErrNotInstalled):
		// The package is well-formed and the identity may read the list, so the peer, or the builder
		// on it, did not manage.
		return "", &Error{ClassNodeFault, failure}
	default:
		return "", failure
	}
}

// QueryInstalled lists the chaincode packages of the peer, sorted by package ID. The identity is an
// admin of the peer's organization.
func QueryInstalled(ctx context.Context, target endorser.Peer, identity *msp.Identity) ([]Installed, error) {
	result := &lifecycle.QueryInstalledChaincodesResult{}
	err := invoke(ctx, target, identity, "", "QueryInstalledChaincodes", &lifecycle.QueryInstalledChaincodesArgs{}, result)
	if err != nil {
		return nil, fmt.Errorf("unable to list the chaincode packages of %s: %w", target.Name, err)
	}
	list := make([]Installed, 0, len(result.GetInstalledChaincodes()))
	for _, installed := range result.GetInstalledChaincodes() {
		references := map[string][]Reference{}
		for channel, on := range installed.GetReferences() {
			for _, chaincode := range on.GetChaincodes() {
				references[channel] = append(references[channel], Reference{Name: chaincode.GetName(), Version: chaincode.GetVersion()})
			}
			slices.SortStableFunc(references[channel], func(a, b Reference) int { return strings.Compare(a.Name, b.Name) })
		}
		list = append(list, Installed{PackageID: installed.GetPackageId(), Label: installed.GetLabel(), References: references})
	}
	slices.SortStableFunc(list, func(a, b Installed) int { return strings.Compare(a.PackageID, b.PackageID) })
	return list, nil
}

// GetInstalled gives the bytes of a package that the peer has. A package that is not in the peer's
// list is ErrNotInstalled. The identity is an admin of the peer's organization.
func GetInstalled(ctx context.Context, target endorser.Peer, identity *msp.Identity, packageID string) ([]byte, error) {
	result := &lifecycle.GetInstalledChaincodePackageResult{}
	err := invoke(ctx, target, identity, "", "GetInstalledChaincodePackage", &lifecycle.GetInstalledChaincodePackageArgs{PackageId: packageID}, result)
	if err == nil {
		return result.GetChaincodeInstallPackage(), nil
	}
	if refused(err) {
		list, listErr := QueryInstalled(ctx, target, identity)
		if listErr == nil && !slices.ContainsFunc(list, func(i Installed) bool { return i.PackageID == packageID }) {
			err = fmt.Errorf("%w: %w", ErrNotInstalled, err)
		}
	}
	return nil, fmt.Errorf("unable to read chaincode package %s of %s: %w", packageID, target.Name, err)
}
