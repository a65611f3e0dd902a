// GoBGP's messages and our plain data, one into the other. Only files of this room that speak to
// GoBGP include it: protobuf's headers are behind it.
#pragma once

#include "base/result.h"
#include "bgp-peer/client.h"
#include "bgp-peer/route.h"
#include "gobgp.pb.h"

namespace bgp_peer {

// Nothing for a path of another family than unicast's, which are not ours to judge. Errors: input,
// when it cannot be read.
[[nodiscard]] base::Result<std::optional<Path>> from_message(const apipb::Path& message);
[[nodiscard]] apipb::Path to_message(const Path& path);

// Capabilities it cannot read are counted among the others. The zone of a link-local address
// (fe80::1%eth0) is left out, as events have none. Errors: input.
[[nodiscard]] base::Result<Peer> from_message(const apipb::Peer& message);
[[nodiscard]] apipb::Peer to_message(const NewPeer& peer);

[[nodiscard]] base::Result<Global> from_message(const apipb::Global& message);
[[nodiscard]] apipb::Global to_message(const Global& global);

// The event a message tells, without its times; nothing when it tells no news: GoBGP sends an empty
// list of paths where what is chosen did not change. Errors: input.
[[nodiscard]] base::Result<std::optional<Event>> from_message(
    const apipb::WatchEventResponse& message);

[[nodiscard]] apipb::Family to_message(Family family);

}  // namespace bgp_peer
