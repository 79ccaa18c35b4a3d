// Package admin shows an organisation's administration: assistants, memory,
// members, keys, the audit log. Lists are tables with their sort and filter in
// the URL; a detail is one page of sections.
//
// Models hold text that is ready to show. Handlers may import it.
package admin

// Room is one page of the administration's navigation.
type Room struct {
	// Name marks the current room.
	Name              string
	Label, Icon, Href string
}

// Nav lists the rooms a person may enter, in order.
type Nav struct {
	Current string
	Rooms   []Room
}

func (n Nav) current(r Room) string {
	if r.Name == n.Current {
		return "page"
	}
	return "false"
}
