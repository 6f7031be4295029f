#ifndef WYVERN_LAYERS_OUTPUT_GATE_H_
#define WYVERN_LAYERS_OUTPUT_GATE_H_

#include <string>
#include <vector>

namespace wyvern {

// The activation of the gate before a mixer's output projection.
enum class OutputGate { kNone, kSilu, kSigmoid };

// In the order of the enumeration, as configuration files write them.
inline const std::vector<std::string> kOutputGateNames = {"none", "silu", "sigmoid"};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_OUTPUT_GATE_H_
