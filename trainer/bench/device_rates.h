#ifndef WYVERN_TRAINER_BENCH_DEVICE_RATES_H_
#define WYVERN_TRAINER_BENCH_DEVICE_RATES_H_

#include <string>

#include "kernels/runtime/device.h"

namespace wyvern {

// The best rates of a device: the yardsticks of `wyvern bench`.
struct DeviceRates {
  std::string device;       // "NVIDIA H100 80GB HBM3", "cpu"
  double bytes = 0;         // per second, read and written by a large copy: measured
  double flops = 0;         // per second, of matmuls
  bool data_sheet = false;  // whether `flops` is the data sheet's dense bf16 rate, or measured

  // The least time that work of this size takes.
  double BoundMs(double num_flops, double num_bytes) const;
  // "NVIDIA H100 80GB HBM3: 3020 GB/s (measured copy), 989.00 TFLOP/s (data sheet, dense bf16)"
  std::string Describe() const;
};

// Takes 2 GiB of device memory for the moment, 256 MiB on the CPU.
DeviceRates MeasureRates(Device device);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_BENCH_DEVICE_RATES_H_
