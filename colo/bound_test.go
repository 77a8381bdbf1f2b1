package colo

import "testing"

// TestPrimaryBound says when P must not outlive p: from the first seal until nobody but p can serve.
func TestPrimaryBound(t *testing.T) {
	for script, want := range map[string]bool{
		"start":                                       false,
		"start up promised synced":                    false,
		"start up promised synced won:pair":           false,
		"start up promised synced won:pair stop":      false,
		"start up promised synced won:pair stop lost": false,
		// s may load from here on, whether p hears of it or not.
		"start up promised synced won:pair stop quiet=7": true,
		paired:                            true,
		holding:                           true,
		paired + "lost":                   true,
		paired + "lost unreachable:alone": true,
		paired + "lost beaten:alone":      true,
		paired + "SHUTDOWN":               true,
		paired + "quit":                   true,
		paired + "gone":                   true,
		// Nobody else can, even if QEMU has not left COLO yet.
		paired + "lost won:alone":        false,
		paired + "left":                  false,
		paired + "lost won:alone yanked": false,
		paired + "lost won:alone yanked up promised synced won:pair":      false,
		paired + "lost won:alone yanked up promised synced won:pair stop": false,
	} {
		var m Primary
		p := &player{step: func(e Event) (out []Action) {
			m, out = m.Step(e)
			return out
		}}
		p.play(t, script)
		if got := m.Bound(); got != want {
			t.Errorf("%q: %v, it is %v", script, got, m.Phase())
		}
	}
}

// TestSecondaryBound says when S must not outlive s: from when a memory may come until it is this side's
// guest for good.
func TestSecondaryBound(t *testing.T) {
	for script, want := range map[string]bool{
		"":                                   false,
		"up":                                 true,
		following:                            true,
		stopped:                              true,
		following + "lost":                   true,
		following + "lost EXIT":              true,
		following + "lost EXIT beaten":       true,
		following + "gap":                    true,
		following + "lost EXIT won":          false,
		following + "lost EXIT won promoted": false,
	} {
		var m Secondary
		p := &player{step: func(e Event) (out []Action) {
			m, out = m.Step(e)
			return out
		}}
		p.play(t, script)
		if got := m.Bound(); got != want {
			t.Errorf("%q: %v, it is %v", script, got, m.Phase())
		}
	}
}
