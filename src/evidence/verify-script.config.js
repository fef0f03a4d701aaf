import { resolve } from 'node:path'
import { defineConfig } from 'vite'

const root = resolve(import.meta.dirname, '../..')

// The verifier as one readable file: everything is inlined but Node's own modules.
export default defineConfig({
  root,
  publicDir: false,
  logLevel: 'warn',
  ssr: { noExternal: true },
  // The entry without the native part, which would be looked for in folders beside the script.
  resolve: { alias: { msgpackr: resolve(root, 'node_modules/msgpackr/index.js') } },
  build: {
    ssr: resolve(import.meta.dirname, 'verify-script.ts'),
    target: 'node20',
    outDir: resolve(root, process.env.SALLYPORT_VERIFIER_OUT ?? 'dist/verifier'),
    emptyOutDir: true,
    minify: false,
    rollupOptions: { output: { entryFileNames: 'verify.mjs', format: 'es' } },
  },
})
