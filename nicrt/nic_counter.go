package nicrt

import "fmt"

func (n *NIC) increment(counter uint32, by int64) error {
	return fmt.Errorf("nicrt: no counter %d", counter)
}
