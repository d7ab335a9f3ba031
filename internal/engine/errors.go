package engine

import (
	"errors"
	"fmt"
)

// What can be wrong, to be found with errors.Is.
var (
	// ErrNotFound: the engine itself says that the object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrForeign: an object of that name exists and is not ours.
	ErrForeign = errors.New("belongs to somebody else")
	// ErrConflict: our own object of that name exists with another specification.
	ErrConflict = errors.New("exists with another specification")
	// ErrLeased: there is a lease of that name already.
	ErrLeased = errors.New("the lease is taken")
	// ErrUnreachable: the engine does not answer.
	ErrUnreachable = errors.New("the engine does not answer")
	// ErrNoImage: the image is neither on the engine nor to be had.
	ErrNoImage = errors.New("no such image")
	// ErrPortTaken: a host port is in use.
	ErrPortTaken = errors.New("the host port is in use")
	// ErrNotPublished: a port of a node is not published, and there is no other way to it.
	ErrNotPublished = errors.New("it is not published on the engine's host")
)

// ForeignError names the foreign object and its owner. It is ErrForeign.
type ForeignError struct {
	// Kind is network, volume or container; Name the engine's name of it.
	Kind, Name string
	// Owner is the owner label; empty when the object carries none.
	Owner string
}

func (e *ForeignError) Error() string {
	if e.Owner == "" {
		return fmt.Sprintf("a %s named %q exists that this provider did not make", e.Kind, e.Name)
	}
	return fmt.Sprintf("a %s named %q exists that belongs to the network with owner_id %q", e.Kind, e.Name, e.Owner)
}

// Is makes a ForeignError be ErrForeign.
func (e *ForeignError) Is(target error) bool { return target == ErrForeign }

// ImageError names an image that is nowhere. It is ErrNoImage.
type ImageError struct {
	// Reference is the image, Host the registry that was asked, Cause what it or the network said.
	Reference, Host string
	Cause           error
}

func (e *ImageError) Error() string {
	return fmt.Sprintf("image %q is not on the engine and could not be pulled from %s: %v", e.Reference, e.Host, e.Cause)
}

// Is makes an ImageError be ErrNoImage.
func (e *ImageError) Is(target error) bool { return target == ErrNoImage }

// Unwrap gives the cause.
func (e *ImageError) Unwrap() error { return e.Cause }

// PortError names a host port that is in use. It is ErrPortTaken.
type PortError struct {
	Node, Address string
	Port          int
	// Holder is the node that has it; empty when it is not known.
	Holder string
}

func (e *PortError) Error() string {
	holder := "another program"
	if e.Holder != "" {
		holder = "container " + e.Holder
	}
	return fmt.Sprintf("host port %s:%d, wanted by %s, is held by %s", e.Address, e.Port, e.Node, holder)
}

// Is makes a PortError be ErrPortTaken.
func (e *PortError) Is(target error) bool { return target == ErrPortTaken }

// NotFoundError names an object that does not exist, by the engine's own word. It is ErrNotFound.
type NotFoundError struct {
	// Kind is network, volume, container or file; Name the engine's name of it, of a file its path
	// in its container as container:path.
	Kind, Name string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s %q does not exist on the engine", e.Kind, e.Name)
}

// Is makes a NotFoundError be ErrNotFound.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }
