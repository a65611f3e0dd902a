// What `stackbench-agent attach` is: its stdin and stdout, run by exec in a container, tied to the
// agent's socket there.
#pragma once

#include "base/fd.h"
#include "base/result.h"

namespace bench {

// Carries bytes from `in` to the connection and from it to `out`, each way at its own pace and with
// bounded memory, until `in` ends (true) or the agent ends the connection (false); what the agent
// said before is delivered, to a reader that reads. Errors: peer_lost (nobody reads `out` any
// more), system.
[[nodiscard]] base::Result<bool> bridge(int in, int out, base::UniqueFd connection);

}  // namespace bench
