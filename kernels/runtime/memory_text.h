#ifndef WYVERN_KERNELS_RUNTIME_MEMORY_TEXT_H_
#define WYVERN_KERNELS_RUNTIME_MEMORY_TEXT_H_

#include <string>

namespace wyvern {

// Memory or a file that is there, in powers of two: "1.53 GiB", "24.1 MiB". (trainer/plan counts in
// powers of ten, as the data sheets of GPUs and links do.)
std::string MemoryText(double num_bytes);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_MEMORY_TEXT_H_
