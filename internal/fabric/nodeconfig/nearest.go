package nodeconfig

import "strings"

// longestTypo is the longest path that is compared with the known ones; no key
// of Fabric is half as long.
const longestTypo = 200

// nearest is the known key that somebody most likely meant by an unknown one,
// or "". A key with a few letters wrong comes first, then a key of the right
// name in another place.
func (s *schema) nearest(path string) string {
	if len(path) > longestTypo {
		return ""
	}
	path = strings.ToLower(path)
	name := path[strings.LastIndexByte(path, '.')+1:]
	limit := max(2, len(name)/3)

	best, bestDistance := "", limit+1
	moved, movedShared := "", -1
	for _, known := range s.leaves {
		lower := strings.ToLower(known)
		if gap := len(path) - len(lower); -bestDistance < gap && gap < bestDistance {
			if d := distance(path, lower); d < bestDistance {
				best, bestDistance = known, d
			}
		}
		if strings.HasSuffix(lower, "."+name) {
			if shared := commonPrefix(path, lower); shared > movedShared {
				moved, movedShared = known, shared
			}
		}
	}
	if best != "" {
		return best
	}
	return moved
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour (optimal string alignment).
func distance(a, b string) int {
	before, previous, current := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(b)]
}
