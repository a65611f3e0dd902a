// pidfd_open, pidfd_send_signal and the rest of <sys/pidfd.h> for C++: glibc 2.36 declares them
// without C linkage.
#pragma once

extern "C" {
#include <sys/pidfd.h>
}
