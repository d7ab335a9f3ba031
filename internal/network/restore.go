package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/archive"
	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// ErrPassphrase: an archive was encrypted with another passphrase.
var ErrPassphrase = archive.ErrPassphrase

// RestoreSpec names the archive that a network is restored from.
type RestoreSpec struct{ Path, Passphrase string }

// OccupiedError tells that a network cannot be restored where there is one already.
type OccupiedError struct {
	Network Handle
	// Volumes are those that stand in the way.
	Volumes []string
}

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("%s is on the engine already, with volumes %s: a backup is restored where nothing of the network is left. "+
		"To take this one back as it is, set owner_id = %q and leave restore_from out; to go back to the backup, remove these volumes and their containers first",
		e.Network, strings.Join(e.Volumes, ", "), e.Network.Owner)
}

// OtherNetworkError tells that an archive is of a network with another name or domain. Names are in the
// certificates of its nodes.
type OtherNetworkError struct{ Archive, Wanted, What string }

func (e *OtherNetworkError) Error() string {
	return fmt.Sprintf("the archive is of a network with the %s %q, not %q: names are in the certificates of nodes, and do not change", e.What, e.Archive, e.Wanted)
}

// PeekBackup tells whose an archive is, without reading all of it: the handle of the network that it makes.
// It fails unless that has the name and the domain that are wanted.
func PeekBackup(from RestoreSpec, wanted Handle) (Handle, error) {
	header, err := archive.Peek(from.Path, from.Passphrase)
	if err != nil {
		return Handle{}, err
	}
	return networkOf(header, wanted)
}

func networkOf(header archive.Header, wanted Handle) (Handle, error) {
	switch {
	case header.Network != wanted.Network:
		return Handle{}, &OtherNetworkError{What: "name", Archive: header.Network, Wanted: wanted.Network}
	case header.Domain != wanted.Domain:
		return Handle{}, &OtherNetworkError{What: "domain", Archive: header.Domain, Wanted: wanted.Domain}
	}
	wanted.Owner = header.Owner
	return wanted, nil
}

// RestoreNetwork makes the volumes of a network from an archive, as they were, for everything that is made on
// it afterwards to take up. The whole archive is verified before anything is made. A restore that did not come
// to its end is begun anew.
func (f *Fabric) RestoreNetwork(ctx context.Context, h Handle, from RestoreSpec) error {
	manifest, _, err := archive.Verify(from.Path, from.Passphrase)
	if err != nil {
		return err
	}
	if _, err := networkOf(manifest.Header, h); err != nil {
		return err
	}
	if err := f.discardRestore(ctx, h); err != nil {
		return err
	}
	if err := f.requireVacant(ctx, h, manifest); err != nil {
		return err
	}
	r := &restore{Fabric: f, network: h, manifest: manifest, images: map[string]string{}}
	if err := r.chooseImages(ctx); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	for _, v := range manifest.Volumes {
		if err := r.create(ctx, v); err != nil {
			return err
		}
	}
	err = manifest.Extract(from.Path, from.Passphrase, func(volume string, content io.Reader) error {
		return r.fill(ctx, manifest.Volume(volume), content)
	})
	if err != nil {
		return fmt.Errorf("unable to restore %s: %w", h, err)
	}
	if err := f.engine.RemoveNode(ctx, restoreMark(h), h.Owner); err != nil {
		return fmt.Errorf("unable to end the restore of %s: %w", h, err)
	}
	f.Adopt(h.Owner)
	return nil
}

// RequireVacant fails with *OccupiedError when the engine has volumes of a network's owner, unless they are
// those of a restore that did not come to its end.
func (f *Fabric) RequireVacant(ctx context.Context, h Handle) error {
	if _, err := f.engine.Node(ctx, restoreMark(h)); err == nil {
		return nil
	} else if !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	return f.requireVacant(ctx, h, archive.Manifest{})
}

func (f *Fabric) requireVacant(ctx context.Context, h Handle, manifest archive.Manifest) error {
	volumes, err := f.engine.Volumes(ctx, map[string]string{engine.LabelOwner: h.Owner, engine.LabelNetwork: h.Network})
	if err != nil {
		return err
	}
	occupied := &OccupiedError{Network: h}
	for _, v := range volumes {
		occupied.Volumes = append(occupied.Volumes, v.Name)
	}
	if len(occupied.Volumes) > 0 {
		slices.Sort(occupied.Volumes)
		return occupied
	}
	for _, v := range manifest.Volumes {
		there, err := f.engine.Volume(ctx, v.Name)
		switch {
		case err == nil:
			return &engine.ForeignError{Kind: "volume", Name: v.Name, Owner: there.Labels[engine.LabelOwner]}
		case !errors.Is(err, engine.ErrNotFound):
			return err
		}
	}
	return nil
}

// restoreMark is the name of a container that is there, and never started, as long as the volumes of a network
// are not whole.
func restoreMark(h Handle) string { return h.Network + "-restore" }

// discardRestore removes what a restore made that did not come to its end: no node was ever on these volumes,
// because nothing is made on a network before it is there.
func (f *Fabric) discardRestore(ctx context.Context, h Handle) error {
	mark, err := f.engine.Node(ctx, restoreMark(h))
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	if err := h.With(KindRestore, "restore", "").requireSame("container", mark.Name, mark.Labels); err != nil {
		return nil //nolint:nilerr // a node of that name, or somebody else's: then there is no restore of ours
	}
	owned := map[string]string{engine.LabelOwner: h.Owner, engine.LabelNetwork: h.Network}
	keepers, err := f.engine.Nodes(ctx, merged(owned, map[string]string{keystore.LabelKeeper: "true"}))
	if err != nil {
		return err
	}
	for _, n := range keepers {
		if n.Name == mark.Name {
			continue
		}
		if err := f.engine.RemoveNode(ctx, n.Name, h.Owner); err != nil {
			return err
		}
	}
	volumes, err := f.engine.Volumes(ctx, owned)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if err := f.engine.RemoveVolume(ctx, v.Name, h.Owner); err != nil {
			return fmt.Errorf("unable to remove what an earlier restore of %s left: %w", h, err)
		}
		f.stores.set(v.Name, nil)
	}
	return f.engine.RemoveNode(ctx, mark.Name, h.Owner)
}

func merged(parts ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, p := range parts {
		maps.Copy(out, p)
	}
	return out
}

// restore is one restore of a network.
type restore struct {
	*Fabric
	network  Handle
	manifest archive.Manifest
	// images are those of this engine in place of those in the archive: the keepers of volumes are made from
	// them, and never started.
	images map[string]string
}

// chooseImages finds for each image of the archive one that this engine has, or can get by the reference that
// it was asked for by: another engine may have built its own.
func (r *restore) chooseImages(ctx context.Context) error {
	references := map[string]string{}
	var known []string
	for _, n := range r.manifest.Nodes {
		if n.Image != "" {
			references[n.ImageID] = n.Image
			known = append(known, n.Image)
		}
	}
	for _, v := range r.manifest.Volumes {
		if r.images[v.Image] != "" {
			continue
		}
		var failed []error
		for _, reference := range append([]string{v.Image, references[v.Image]}, known...) {
			if reference == "" {
				continue
			}
			image, err := r.engine.ResolveImage(ctx, reference)
			if err == nil {
				r.images[v.Image] = image.ID
				break
			}
			failed = append(failed, err)
			if !errors.Is(err, engine.ErrNoImage) {
				break
			}
		}
		if r.images[v.Image] == "" {
			return fmt.Errorf("no image for the keeper of volume %s: %w", v.Name, errors.Join(failed...))
		}
	}
	return nil
}

func (r *restore) begin(ctx context.Context) error {
	if len(r.manifest.Volumes) == 0 {
		return nil
	}
	labels := r.network.With(KindRestore, "restore", "").labels()
	labels[keystore.LabelKeeper], labels[labelOnce], labels[engine.LabelSpecHash] = "true", "true", "restore"
	err := r.engine.CreateNode(ctx, engine.NodeSpec{
		Name: restoreMark(r.network), Image: r.images[r.manifest.Volumes[0].Image], Command: []string{"true"}, User: nodeUser, Labels: labels,
	})
	if err != nil {
		return fmt.Errorf("unable to begin the restore of %s: %w", r.network, err)
	}
	return nil
}

// create makes a volume and the keeper that has it until its node does.
func (r *restore) create(ctx context.Context, v *archive.Volume) error {
	labels := maps.Clone(v.Labels)
	image := r.images[v.Image]
	if labels[keystore.LabelImage] != "" {
		delete(labels, keystore.LabelImage)
		_, err := keystore.CreateVolume(ctx, r.engine, v.Name, image, labels)
		return err
	}
	if err := r.engine.CreateVolume(ctx, engine.VolumeSpec{Name: v.Name, Labels: labels}); err != nil {
		return err
	}
	return r.createKeeper(ctx, handleOf(labels), image)
}

// fill writes the content of a volume.
func (r *restore) fill(ctx context.Context, v *archive.Volume, content io.Reader) error {
	if v == nil {
		return archive.ErrDamaged
	}
	if v.Labels[keystore.LabelImage] != "" {
		return keystore.OpenVolume(r.engine, v.Name).OwnedBy(r.network.Owner).Fill(ctx, content)
	}
	return r.engine.WriteArchive(ctx, keeperOf(handleOf(v.Labels)), volumeRoot, content)
}
