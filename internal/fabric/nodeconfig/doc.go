// Package nodeconfig renders core.yaml and orderer.yaml, the configuration
// files of Hyperledger Fabric's peer and orderer.
//
// A file is built from three layers, each over the one before:
//
//  1. the defaults of the node's own Fabric release (folder defaults, taken
//     from the sampleconfig folder of that release),
//  2. what the provider sets: identity, addresses, certificate files, folders,
//     state database, endpoints ([Peer], [Orderer]),
//  3. the user's [Overlay]: any other key that the release knows.
//
// The overlay is checked before anything is rendered, because Fabric itself is
// of little help: a peer ignores a key that it does not know and falls back to
// a default for many values that it cannot read, and an orderer stops at the
// first key that is unknown to it. [Validate], [ValidatePeer] and
// [ValidateOrderer] find unknown keys (with the nearest known one), wrong
// types, keys that belong to the provider, combinations that Fabric refuses or
// silently ignores, and listeners on the same port. They report every problem
// at once and do no I/O, so they can run at plan.
//
// Fabric matches keys without regard to case, and so does this package; what
// it renders has Fabric's own spelling.
//
// Secrets never enter a rendered file: a peer logs its whole configuration when
// it starts. The password of CouchDB goes into the container's environment
// (CORE_LEDGER_STATE_COUCHDBCONFIG_PASSWORD); its key is left out of the file
// on purpose, because a peer logs the environment's value for every key that
// the file lists, and only for those.
//
// Sources: sampleconfig/core.yaml and orderer.yaml, core/peer/config.go,
// gossip/*/config.go, core/deliverservice/config.go,
// internal/peer/node/config.go and orderer/common/localconfig/config.go of
// Fabric 2.5.9 and 3.1.1.
package nodeconfig
