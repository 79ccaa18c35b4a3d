package run

// Draining lets tests wait for the moment a worker stops claiming.
func (w *Worker) Draining() bool { return w.draining() }
