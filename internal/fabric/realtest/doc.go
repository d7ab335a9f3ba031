// Package realtest holds the tests of the protocol packages against real Fabric nodes. They run with
// FABRIC_REAL=1, on a Docker engine that has the images, and fail when engine or images are missing.
// Each test starts a small network of its own, with certificates of its own making, and removes it.
package realtest
