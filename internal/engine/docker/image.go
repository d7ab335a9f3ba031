package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

const (
	dockerHub = "docker.io"
	// A registry that has said nothing at all by pullSilence is not there; one that stops in the
	// middle gets pullStall, because engines say nothing while they unpack a large layer.
	pullSilence = 14 * time.Second
	pullStall   = 2 * time.Minute
)

// ResolveImage implements engine.Engine with GET /images/{name}/json and POST /images/create. A
// reference is a tag, a digest (name@sha256:…) or an image ID (sha256:…), which cannot be pulled.
func (e *Engine) ResolveImage(ctx context.Context, ref string) (engine.Image, error) {
	image, err := e.resolveImage(ctx, ref)
	if err != nil && !errors.Is(err, engine.ErrNoImage) {
		return engine.Image{}, fmt.Errorf("unable to resolve image %q: %w", ref, err)
	}
	return image, err
}

func (e *Engine) resolveImage(ctx context.Context, ref string) (engine.Image, error) {
	parsed, err := parseReference(ref)
	if err != nil {
		return engine.Image{}, err
	}
	found, err := e.inspectImage(ctx, parsed.local)
	if err == nil {
		return parsed.image(found), nil
	}
	if !cerrdefs.IsNotFound(err) {
		return engine.Image{}, err
	}
	if parsed.named == nil {
		return engine.Image{}, &engine.ImageError{
			Reference: ref, Host: "any registry", Cause: errors.New("an image ID names content, not a place to have it from"),
		}
	}
	host := reference.Domain(parsed.named)
	if err := e.pull(ctx, parsed.named, host); err != nil {
		if ctx.Err() != nil || errors.Is(err, engine.ErrUnreachable) {
			return engine.Image{}, err
		}
		return engine.Image{}, &engine.ImageError{Reference: ref, Host: host, Cause: err}
	}
	if found, err = e.inspectImage(ctx, parsed.local); cerrdefs.IsNotFound(err) {
		return engine.Image{}, &engine.ImageError{Reference: ref, Host: host, Cause: err}
	}
	if err != nil {
		return engine.Image{}, err
	}
	return parsed.image(found), nil
}

// imageReference is a reference in the forms that the engine wants it in.
type imageReference struct {
	given string
	// local is what the engine knows it by.
	local string
	// named is what a registry knows it by; nil for an image ID.
	named reference.Named
}

func parseReference(ref string) (imageReference, error) {
	if digest, ok := strings.CutPrefix(ref, "sha256:"); ok {
		if len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "" {
			return imageReference{}, errors.New("it is not an image ID of 64 hexadecimal digits")
		}
		return imageReference{given: ref, local: ref}, nil
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return imageReference{}, err
	}
	if digested, ok := named.(reference.Digested); ok {
		// Engines look a name with both tag and digest up by the digest, if at all.
		if named, err = reference.WithDigest(reference.TrimNamed(named), digested.Digest()); err != nil {
			return imageReference{}, err
		}
	}
	named = reference.TagNameOnly(named)
	return imageReference{given: ref, local: reference.FamiliarString(named), named: named}, nil
}

// image describes what was found under the reference.
func (r imageReference) image(found client.ImageInspectResult) engine.Image {
	out := engine.Image{Reference: r.given, ID: found.ID}
	for _, named := range found.RepoDigests {
		if _, digest, ok := strings.Cut(named, "@"); ok {
			out.Digests = append(out.Digests, digest)
		}
	}
	slices.Sort(out.Digests)
	out.Digests = slices.Compact(out.Digests)
	return out
}

func (e *Engine) inspectImage(ctx context.Context, name string) (client.ImageInspectResult, error) {
	var found client.ImageInspectResult
	err := e.ask(ctx, func(ctx context.Context) (err error) {
		found, err = e.api.ImageInspect(ctx, name)
		return err
	})
	if err != nil {
		return found, err
	}
	var declared []string
	if found.Config != nil {
		for volume := range found.Config.Volumes {
			declared = append(declared, volume)
		}
	}
	slices.Sort(declared)
	e.declared.Store(found.ID, declared)
	return found, nil
}

// declaredVolumes gives the VOLUMEs of an image; ErrNoImage when the engine does not have it.
func (e *Engine) declaredVolumes(ctx context.Context, image string) ([]string, error) {
	if declared, ok := e.declared.Load(image); ok {
		return declared.([]string), nil
	}
	found, err := e.inspectImage(ctx, image)
	if cerrdefs.IsNotFound(err) {
		return nil, fmt.Errorf("image %s: %w on the engine", image, engine.ErrNoImage)
	}
	if err != nil {
		return nil, err
	}
	declared, _ := e.declared.Load(found.ID)
	return declared.([]string), nil
}

// pull has the engine pull an image. The answer is a stream in which an error may come at any place.
func (e *Engine) pull(ctx context.Context, named reference.Named, host string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(e.pullSilence, func() {
		cancel(fmt.Errorf("no answer within %s", e.pullSilence))
	})
	defer silence.Stop()
	auth, err := e.registryAuth(host)
	if err != nil {
		return err
	}
	err = e.call(ctx, func(ctx context.Context) error {
		progress, err := e.api.ImagePull(ctx, named.String(), client.ImagePullOptions{RegistryAuth: auth})
		if err != nil {
			return err
		}
		for message, err := range progress.JSONMessages(ctx) {
			if err != nil {
				return err
			}
			if message.Error != nil {
				return errors.New(message.Error.Message)
			}
			silence.Reset(pullStall)
		}
		return nil
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// registryAuth gives the header that carries the credentials for a registry; empty: anonymous.
func (e *Engine) registryAuth(host string) (string, error) {
	credentials, ok := e.options.Registries[host]
	if !ok {
		return "", nil
	}
	server := host
	if host == dockerHub { // the one registry that is not known by its host
		server = "https://index.docker.io/v1/"
	}
	header, err := authconfig.Encode(registry.AuthConfig{
		Username: credentials.Username, Password: credentials.Password, ServerAddress: server,
	})
	if err != nil {
		return "", fmt.Errorf("unable to encode the credentials for %s", host)
	}
	return header, nil
}

// registryHost gives the host by which image references name a registry.
func registryHost(host string) string {
	if _, rest, ok := strings.Cut(host, "://"); ok {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	switch host {
	case "", "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return host
}
