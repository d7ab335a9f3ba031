package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// PackageSource is where the package of a chaincode comes from that the provider does not make for
// servers of its own: a folder of source, which peers build, or a file that somebody else made.
type PackageSource struct {
	// Type is golang, node or java, and Path the folder of its source; empty with an archive.
	Type, Path string
	// Main is the folder of the main package below Path, for golang; empty when that is Path itself.
	Main string
	// Archive is the file of a package.
	Archive string
}

func (s *PackageSource) source(label string) lifecycle.Source {
	return lifecycle.Source{Label: label, Type: s.Type, Folder: s.Path, Main: s.Main}
}

// Describe tells what a package is, and keeps nothing of it. The label is for a folder of source.
func (s *PackageSource) Describe(label string) (*lifecycle.PackageInfo, error) {
	if s.Archive == "" {
		id, err := s.source(label).ID()
		return &lifecycle.PackageInfo{ID: id, Label: label, Type: s.Type}, err
	}
	file, err := s.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := lifecycle.ReadPackage(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Archive, err)
	}
	return info, nil
}

// open opens an archive, but nothing that only looks like a file.
func (s *PackageSource) open() (*os.File, error) {
	info, err := os.Stat(s.Archive)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", s.Archive)
	}
	return os.Open(s.Archive)
}

// read gives the package itself.
func (s *PackageSource) read(label string) ([]byte, *lifecycle.PackageInfo, error) {
	if s.Archive == "" {
		packed, err := s.source(label).Package()
		return packed, &lifecycle.PackageInfo{ID: lifecycle.PackageID(label, packed), Label: label, Type: s.Type}, err
	}
	file, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	packed, err := io.ReadAll(io.LimitReader(file, lifecycle.MaxPackageSize+1))
	if err != nil {
		return nil, nil, err
	}
	info, err := lifecycle.ParsePackage(packed)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.Archive, err)
	}
	return packed, info, nil
}

// PackageChangedError tells that a package is not what it was when the plan was made.
type PackageChangedError struct{ Chaincode, Planned, Found string }

func (e *PackageChangedError) Error() string {
	return fmt.Sprintf("the package of chaincode %s is %s now, and was %s when the plan was made", e.Chaincode, e.Found, e.Planned)
}

// served tells whether servers of ours run the chaincode. Otherwise peers build it and run it themselves,
// or somebody else serves it.
func (s *ChaincodeSpec) served() bool { return s.Server.Image != "" }

// Pack gives the package of a spec.
func (s *ChaincodeSpec) Pack() ([]byte, error) {
	packed, _, _, err := s.packed()
	return packed, err
}

// verify fails with *VerificationError when package or image lack the signatures that the spec asks for.
func (s *ChaincodeSpec) verify(packed []byte, image engine.Image) error {
	err := s.Verification.VerifyPackage(packed)
	if s.served() {
		err = errors.Join(err, s.Verification.VerifyImage(image))
	}
	return err
}

// packed gives the package of a spec, its ID and, when it was given, its type.
func (s *ChaincodeSpec) packed() (packed []byte, id, packageType string, err error) {
	if s.Package == nil {
		packed, id, err = ChaincodePackage(s.Channel.Name, s.Label, s.Indexes, s.Server.MutualTLS)
		return packed, id, "", err
	}
	packed, info, err := s.Package.read(s.Label)
	if err != nil {
		return nil, "", "", err
	}
	return packed, info.ID, info.Type, s.planned(info.ID)
}

func (s *ChaincodeSpec) planned(id string) error {
	if s.PackageID != "" && id != s.PackageID {
		return &PackageChangedError{Chaincode: s.Name, Planned: s.PackageID, Found: id}
	}
	return nil
}

// installAll installs a package on the peers of the members that run. What a builder on a peer complains
// of is in the peer's log.
func (f *Fabric) installAll(ctx context.Context, members []member, packed []byte) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, m := range members {
		for _, p := range m.peers {
			group.Go(func() error { return f.install(gctx, m, p, packed) })
		}
	}
	return group.Wait()
}

func (f *Fabric) install(ctx context.Context, m member, p memberPeer, packed []byte) error {
	_, err := lifecycle.Install(ctx, p.Peer, m.admin, packed)
	if lifecycle.ClassOf(err) == lifecycle.ClassNodeFault {
		return f.nodeError(ctx, p.handle, "install the chaincode package on", err)
	}
	return err
}

// heldPackage reads a package that is not ours to make from a peer that has it; nil when none does.
func heldPackage(ctx context.Context, members []member, packageID string) ([]byte, error) {
	var failures error
	for _, m := range members {
		for _, p := range m.peers {
			if !p.running() {
				continue
			}
			packed, err := lifecycle.GetInstalled(ctx, p.Peer, m.admin, packageID)
			if errors.Is(err, lifecycle.ErrNotInstalled) {
				continue
			}
			if err == nil {
				var info *lifecycle.PackageInfo
				if info, err = lifecycle.ParsePackage(packed); err == nil && info.ID == packageID {
					return packed, nil
				}
			}
			failures = errors.Join(failures, err)
		}
	}
	return nil, failures
}

// A chaincode without servers of ours has a record in place of them: a container that is never started, by
// which it is found when only the engine is known. It carries the same labels, but names no peer.

// isRecord tells whether a container is such a record.
func isRecord(n engine.Node) bool { return !isNode(n) && !isAside(n) && n.Labels[labelChaincode] != "" }

func (f *Fabric) recordChaincode(ctx context.Context, spec ChaincodeSpec, imageID, packageID string) error {
	h := ChaincodeHandle(spec.Channel, spec.Name)
	h.Kind = serverKind(spec.Channel)
	name := fmt.Sprintf("%s-chaincode-%s.%s", h.Network, spec.Channel.Name, spec.Name) // the name of a chaincode has no dot
	if h.MSPID != "" {
		name += "." + h.MSPID
	}
	node := engine.NodeSpec{
		Name:  name,
		Image: imageID, Command: []string{"true"}, User: nodeUser, Labels: h.labels(),
	}
	node.Labels[labelChannel], node.Labels[labelChaincode], node.Labels[labelPackage] = spec.Channel.Name, spec.Name, packageID
	node.Labels[labelInputs] = inputs(serverInputs{Channel: spec.Channel, Name: spec.Name, Label: spec.Label, Type: spec.Type})
	node.Labels[keystore.LabelKeeper], node.Labels[labelOnce] = "true", "true"
	node.Labels[engine.LabelSpecHash] = specHash(node, nil)
	err := f.engine.CreateNode(ctx, node)
	if errors.Is(err, engine.ErrConflict) { // that of another release
		if err = f.engine.RemoveNode(ctx, node.Name, h.Owner); err == nil {
			err = f.engine.CreateNode(ctx, node)
		}
	}
	if err != nil {
		return fmt.Errorf("unable to record chaincode %s: %w", spec.Name, err)
	}
	return nil
}

// installHeld installs on a peer a package that another one of the channel has. When none has it, the
// chaincode's own next apply brings it.
func (f *Fabric) installHeld(ctx context.Context, p, channel Handle, packageID string) error {
	record, err := f.channelRecord(ctx, channel)
	if err != nil || !slices.Contains(peersOf(record.Organizations), p) {
		return nil //nolint:nilerr // what is wrong with a channel is the channel's business
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return err
	}
	packed, err := heldPackage(ctx, members, packageID)
	if err != nil || packed == nil {
		return nil //nolint:nilerr // as said above
	}
	for _, m := range members {
		for _, of := range m.peers {
			if of.handle == p {
				return f.install(ctx, m, of, packed)
			}
		}
	}
	return nil
}
