import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// The single-page application. No inline script or style survives the build: the CSP forbids them.
export default defineConfig({
  root: 'src/web',
  base: '/',
  plugins: [react()],
  build: {
    outDir: '../../dist/web',
    emptyOutDir: true,
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900, // kB; one chunk, loaded once from our own origin
  },
  logLevel: 'warn',
})
