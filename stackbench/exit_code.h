// What the exit codes mean, for the command and for its help. When several apply the first of
// usage, workload_error, failed, disturbed, inconclusive wins.
#pragma once

namespace stackbench {

inline constexpr int exit_pass = 0;            // pass or improvement
inline constexpr int exit_failed = 1;          // a regression, or a failed check or expectation
inline constexpr int exit_usage = 2;           // our own trouble: usage, input, tool, right, disk
inline constexpr int exit_inconclusive = 3;    // the data cannot tell, or everything was skipped
inline constexpr int exit_disturbed = 4;       // the machine was too disturbed
inline constexpr int exit_workload_error = 5;  // traffic could not be made as asked
inline constexpr int exit_signal = 128;        // plus the signal's number

}  // namespace stackbench
