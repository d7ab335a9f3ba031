// Command ccaas-builder is the external builder with which a Fabric peer
// accepts chaincode packages of type "ccaas" (chaincode as a service): packages
// that hold no code, only the address of a server that already runs.
//
// It is one program with three names. The peer calls, by absolute path and
// with an environment reduced to PATH, TMPDIR and what core.yaml's
// propagateEnvironment lists:
//
//	bin/detect  CHAINCODE_SOURCE_DIR CHAINCODE_METADATA_DIR
//	bin/build   CHAINCODE_SOURCE_DIR CHAINCODE_METADATA_DIR BUILD_OUTPUT_DIR
//	bin/release BUILD_OUTPUT_DIR RELEASE_OUTPUT_DIR
//
// A zero exit status means "mine" for detect and "done" for the other two.
// What it writes to standard error appears in the peer's log. There is no
// "run": the peer itself connects to the address that release hands over.
//
// The contract is the "External Builders and Launchers" chapter of the Fabric
// documentation; the files the peer reads back are named in its package
// core/container/externalbuilder.
package main
