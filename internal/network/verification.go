package network

import (
	"fmt"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/signature"
)

// Verification is by whom a chaincode must be signed to be installed: its package, and the image of its
// servers, which is where its code is.
type Verification struct {
	Keys signature.Keys
	// Package and Image are the signatures.
	Package, Image signature.Signature
	// ImagePayload is what was signed for the image, when its signature is one over a payload.
	ImagePayload string
}

// VerificationError tells that a package or an image does not have the signature that it needs.
type VerificationError struct {
	// What is not signed: SignedPackage or SignedImage.
	What  string
	Cause error
}

// What is signed of a chaincode.
const (
	SignedPackage = "package"
	SignedImage   = "image"
)

func (e *VerificationError) Error() string {
	return fmt.Sprintf("the signature of the %s is refused: %v", e.What, e.Cause)
}

func (e *VerificationError) Unwrap() error { return e.Cause }

// VerifyPackage fails with *VerificationError for a package that none of the keys signed. Without a
// verification every package is accepted.
func (v *Verification) VerifyPackage(packed []byte) error {
	if v == nil {
		return nil
	}
	if err := v.Package.VerifyFile(v.Keys, packed); err != nil {
		return &VerificationError{What: SignedPackage, Cause: err}
	}
	return nil
}

// VerifyImage fails with *VerificationError for an image that none of the keys signed, by the digests that
// registries gave it under, or by its ID where it was built.
func (v *Verification) VerifyImage(image engine.Image) error {
	if v == nil {
		return nil
	}
	if err := v.Image.VerifyImage(v.Keys, v.ImagePayload, append(slices.Clone(image.Digests), image.ID)); err != nil {
		return &VerificationError{What: SignedImage, Cause: err}
	}
	return nil
}
