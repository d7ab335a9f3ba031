package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// rotation is a replacement of keys that has begun and has not come to its end: what nobody may trust any
// more is to be replaced and revoked, however often that is cut short, and whatever a state knows of it by
// then. Its record is kept beside the keys of the organization, those of a CA beside its own.
type rotation struct {
	// KeyVersion and Before count the keys that the thing is to have, and those that it had.
	KeyVersion int `json:"key_version"`
	Before     int `json:"before"`
	// Distrusted are the certificates of the keys that are replaced, in PEM.
	Distrusted []string `json:"distrusted"`
}

func rotationFile(h Handle) string { return fmt.Sprintf("rotations/%s.%s.json", h.Kind, h.Name) }

// rotationOf gives the rotation of a thing's keys that is under way; nil for none.
func (f *Fabric) rotationOf(ctx context.Context, h Handle) (*rotation, error) {
	keeper := recordKeeper(h)
	files, err := f.readKeys(ctx, keeper)
	if errors.Is(err, keystore.ErrLost) {
		return nil, &LostError{Thing: keeper, Volume: keeper.keys()}
	}
	if err != nil || len(files[rotationFile(h)]) == 0 {
		return nil, err
	}
	under := &rotation{}
	if err := json.Unmarshal(files[rotationFile(h)], under); err != nil {
		return nil, fmt.Errorf("unable to read which keys of %s are being replaced: %w", h, err)
	}
	return under, nil
}

// beginRotation writes down whose keys are to be replaced before any is. One that was cut short is gone on
// with: the state from which it is wanted again may know the keys already that it has brought.
func (f *Fabric) beginRotation(ctx context.Context, h Handle, r *Renewal) error {
	under, err := f.rotationOf(ctx, h)
	if err != nil {
		return err
	}
	next := rotation{KeyVersion: r.KeyVersion, Before: r.KeyVersionBefore, Distrusted: r.Revoke}
	switch {
	case under == nil && len(r.Revoke) == 0:
		return nil
	case under != nil && len(r.Revoke) == 0 && under.Before == r.KeyVersion: // it is not wanted any more
		return f.eraseKeys(ctx, recordKeeper(h), rotationFile(h))
	case under != nil && (len(r.Revoke) == 0 || under.KeyVersion == r.KeyVersion):
		r.Revoke = under.Distrusted
		return nil
	case under != nil:
		next.Before, next.Distrusted = under.Before, append(under.Distrusted, r.Revoke...)
	}
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	r.Revoke = next.Distrusted
	return f.writeKeys(ctx, recordKeeper(h), map[string][]byte{rotationFile(h): raw})
}

// endRotation revokes what a thing has no more, and forgets the rotation.
func (f *Fabric) endRotation(ctx context.Context, h Handle, r Renewal) error {
	if len(r.Revoke) == 0 {
		return nil
	}
	if h.Kind != KindCA { // its listeners' certificates are issued here, and no CA knows of them
		if err := f.revoke(ctx, h.Organization(), r.Revoke); err != nil {
			return err
		}
	}
	return f.eraseKeys(ctx, recordKeeper(h), rotationFile(h))
}

// rotated gives the number of the keys that a thing has, of which something says that it is to be said: until
// its old keys are replaced and revoked, it has those.
func (f *Fabric) rotated(ctx context.Context, h Handle, said int) (int, error) {
	under, err := f.rotationOf(ctx, h)
	if err != nil || under == nil || under.KeyVersion != said {
		return said, err
	}
	return under.Before, nil
}

// KeyVersion gives the number of the keys that a node has, from 1 on; 0 as long as that cannot be told.
func (f *Fabric) KeyVersion(ctx context.Context, h Handle) (int, error) {
	current, err := f.engine.Node(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var in NodeOptions
	if err := json.Unmarshal([]byte(current.Labels[labelInputs]), &in); err != nil {
		return 0, fmt.Errorf("unable to read what was asked for of %s: %w", h, err)
	}
	if in.Container != "" {
		return 0, nil
	}
	version, err := f.rotated(ctx, h, in.KeyVersion)
	if errors.Is(err, ErrLost) {
		return 0, nil
	}
	return max(version, 1), err
}
