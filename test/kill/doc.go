// Package kill holds the tests that a provider which is killed at any moment loses nothing, and that
// the next apply converges.
//
// TestAccKill kills the provider, Terraform, or both, at moments chosen at random, while real
// Terraform makes a real network. TestAccSweep goes through the use cases of internal/network without
// Terraform: a process of its own makes the network on the real engine and ends itself at every call
// that changes something, in the middle of writing files, and in the middle of what it says to Fabric's
// nodes. TestSweep does the same in memory with errors in place of deaths. TestAccFaults changes a
// network with real Terraform through the proxy of test/fault, which has one call to the engine or a
// node go wrong; TestAccSilence has somebody never answer.
//
// What is chosen at random follows from a seed, which is printed and can be given:
//
//	FABRIC_KILL_SEED   the seed
//	FABRIC_KILLS       how many moments TestAccKill tries
//	SWEEP_PASS         the pass of TestAccFaults, or the passes, as 0-8; one by the seed when not set, its points in any order
//	SWEEP_RECORD       a file of points, NAME.tsv, that is gone on with; the tables are in NAME.md beside it
//	SWEEP_SEED         the seed of TestAccFaults
//	SWEEP_TIME         how long TestAccFaults goes on, for example 6m; all points when not set
//	SWEEP_POINTS       how many points it tries at most
//	SWEEP_ONLY         what it tries, a regular expression of "SIDE: FAULT"
//	SWEEP_CHANGE       a regular expression of the changes' names
//	FABRIC_SWEEP=all   every call in every manner, not one manner for each call
package kill
